//! YAML (and so JSON) as a tree that knows the line of each value.
//!
//! Duplicate keys are errors. `null` stays a value here: what it means is for whoever knows the schema.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

/// A value and the line on which it is written; for a member of an object, the line of its key.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Counted from 1.
    pub(crate) line: u64,
    pub(crate) content: Content,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// Where and why a text is no YAML.
#[derive(Debug)]
pub(crate) struct Malformed {
    pub(crate) line: u64,
    pub(crate) message: String,
}

/// The documents of a file; those without content are left out.
pub(crate) fn parse(text: &str) -> Result<Vec<Node>, Malformed> {
    let documents = serde_saphyr::from_multiple::<Spanned<Content>>(text).map_err(|error| malformed(&error))?;
    Ok(documents.into_iter().map(Node::from).filter(|node| !matches!(node.content, Content::Null)).collect())
}

fn malformed(error: &serde_saphyr::Error) -> Malformed {
    let text = error.without_snippet().to_string();
    // The place is told apart, and options of the parser are none of the user's.
    let end = [", set DuplicateKeyPolicy", " at line "].iter().filter_map(|tail| text.find(tail)).min();
    let message = text.get(..end.unwrap_or(text.len())).unwrap_or(&text).to_owned();
    Malformed { line: error.location().map_or(1, |location| location.line()), message }
}

impl From<Spanned<Content>> for Node {
    fn from(spanned: Spanned<Content>) -> Self {
        Self { line: spanned.referenced.line(), content: spanned.value }
    }
}

impl Node {
    /// The member of an object.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let Content::Object(members) = &self.content else { return None };
        members.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.content, Content::Null)
    }

    /// The value at a path such as `spec.deliverTo[0].name`, if it is written.
    pub(crate) fn find(&self, path: &str) -> Option<&Self> {
        path.split(['.', '[']).filter(|step| !step.is_empty()).try_fold(self, |node, step| node.step(step))
    }

    /// The line of the value at a path, or of the nearest value above it that is written.
    pub(crate) fn line_of(&self, path: &str) -> u64 {
        let mut node = self;
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            let Some(child) = node.step(step) else { break };
            node = child;
        }
        node.line
    }

    fn step(&self, step: &str) -> Option<&Self> {
        match (step.strip_suffix(']'), &self.content) {
            (Some(index), Content::List(items)) => items.get(index.parse::<usize>().ok()?),
            _ => self.get(step),
        }
    }

    /// As JSON, without members that are `null`: the API server counts those as absent.
    pub(crate) fn to_json(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(value) => Value::Bool(*value),
            Content::Number(number) => Value::Number(number.clone()),
            Content::Text(text) => Value::String(text.clone()),
            Content::List(items) => items.iter().map(Self::to_json).collect(),
            Content::Object(members) => {
                let written = members.iter().filter(|(_, node)| !node.is_null());
                Value::Object(written.map(|(key, node)| (key.clone(), node.to_json())).collect::<Map<_, _>>())
            }
        }
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        Content::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Content, E> {
        Number::from_f64(value).map(Content::Number).ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Content, E> {
        Ok(Content::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Content, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Content>>()? {
            list.push(item.into());
        }
        Ok(Content::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Content, A::Error> {
        let mut object = Vec::new();
        while let Some((key, value)) = members.next_entry::<Spanned<String>, Spanned<Content>>()? {
            object.push((key.value, Node { line: key.referenced.line(), content: value.value }));
        }
        Ok(Content::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_line_of_each_value_in_block_and_flow_style() {
        let documents = parse("# first\n---\na:\n  - x: 1\n  - {y: 2,\n     z: |\n       text}\n---\nb: 1\n");
        assert!(documents.is_err(), "a flow object cannot hold a block text");
        let documents = parse("# first\n---\na:\n  - x: 1\n  - {y: 2,\n     z: [3]}\n---\n---\nb: 1\n").unwrap();
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[0].find("a[0].x").unwrap().line, 4);
        assert_eq!(documents[0].find("a[1].z[0]").unwrap().line, 6);
        assert_eq!(documents[0].line_of("a[1].q.r"), 5);
        assert_eq!(documents[1].find("b").unwrap().line, 9);
    }

    #[test]
    fn refuses_a_duplicate_key_and_names_its_line() {
        let error = parse("a: 1\nb:\n  c: 1\n  c: 2\n").unwrap_err();
        assert_eq!((error.line, error.message.as_str()), (4, "duplicate mapping key: c"));
    }

    #[test]
    fn reads_json_too_and_leaves_out_null() {
        let documents = parse("{\"a\": [1, null],\n\"b\": null, \"c\": 1.5}").unwrap();
        assert_eq!(documents[0].to_json(), serde_json::json!({"a": [1, null], "c": 1.5}));
    }
}
