//! The rules that more than one field has: schemas of names, addresses, ranges, durations and sizes.
//!
//! Texts are checked by CEL rules and not by `pattern`: an API server answers a failed pattern with the pattern, and a
//! failed rule with a sentence that says what to write. Every text and list has a bound, also because the API server
//! reckons what a rule may cost from the bounds. `crds/invalid/` has one example for each rule.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::json;

/// One label of a domain name, in either form of an IDN: anything but ASCII that is no letter, digit or hyphen.
macro_rules! label {
    () => {
        r"[^\x00-,./:-@\[-\x60{-\x7f]+"
    };
}

/// Names of objects (RFC 1123 subdomains).
const OBJECT_NAME: &str = r"self.matches(r'^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')";

/// A name with a dot in it, in either form of an IDN.
const DNS_NAME: &str = concat!(r"self.matches(r'^(", label!(), r"\.)+", label!(), r"$') && !isIP(self)");

/// The host bits of a range. A text that is no range is told so by another rule.
const MASKED: &str = "!isCIDR(self) || cidr(self) == cidr(self).masked()";

/// Static, for the API server reckons that a message with a range in it could be endless.
const HOST_BITS: &str = "has host bits that are not zero: write the first address of the range, such as 10.20.0.0/28 \
                         and not 10.20.0.1/28, or one address as 10.20.0.1/32";

/// What every range must be.
const IS_CIDR: &str = "must be a range in CIDR notation, such as 10.20.0.0/28, 192.0.2.1/32 for one address, or \
                       2001:db8::/64; an IPv4-mapped address is written as IPv4";

fn text(length: u32, rules: &[(&str, &str)]) -> Schema {
    with(json_schema!({"type": "string", "maxLength": length}), rules)
}

/// Adds rules, each with the sentence that is the answer to whoever breaks it.
fn with(mut schema: Schema, rules: &[(&str, &str)]) -> Schema {
    let rules: Vec<_> = rules.iter().map(|(rule, message)| json!({"rule": rule, "message": message})).collect();
    schema.insert("x-kubernetes-validations".to_owned(), json!(rules));
    schema
}

fn list(of: Schema, most: u32, kind: &str) -> Schema {
    json_schema!({"type": "array", "items": of, "maxItems": most, "x-kubernetes-list-type": kind})
}

/// One of a few words. Without it the description of their type would stand in place of the field's own.
pub(crate) fn word<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = T::json_schema(generator);
    schema.remove("description");
    schema
}

/// The name of an object.
pub(crate) fn object_name(_: &mut SchemaGenerator) -> Schema {
    let message = "must be the metadata.name of an object: lower-case letters, digits, '-' and '.'";
    text(253, &[(OBJECT_NAME, message)])
}

/// What is one label of a DNS name, as it stands in the name of a Service.
const LABEL: &str = r"self.matches(r'^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')";

/// The name of a Service.
pub(crate) fn service_name(_: &mut SchemaGenerator) -> Schema {
    text(
        63,
        &[(LABEL, "must be the metadata.name of a Service: lower-case letters, digits and inner '-', such as mail")],
    )
}

/// The name of a namespace.
pub(crate) fn namespace_name(_: &mut SchemaGenerator) -> Schema {
    text(63, &[(LABEL, "must be the name of a namespace: lower-case letters, digits and inner '-', such as apps")])
}

/// A key of a ConfigMap or Secret.
pub(crate) fn data_key(_: &mut SchemaGenerator) -> Schema {
    let message = "must be a key of the object's data: letters, digits, '-', '_' and '.'";
    text(253, &[(r"self.matches(r'^[-._a-zA-Z0-9]+$')", message)])
}

/// The domain names of a RelayDomain.
pub(crate) fn domain_names(_: &mut SchemaGenerator) -> Schema {
    const NAME: &str = concat!(r"self.matches(r'^(\*\.)?(", label!(), r"\.)+", label!(), r"$') && !isIP(self)");
    let message = "must be a domain name, such as example.com, or *.example.com for every subdomain of it";
    let mut schema = list(text(253, &[(NAME, message)]), 100, "set");
    schema.insert("minItems".to_owned(), json!(1));
    schema
}

/// Addresses of recipients.
pub(crate) fn addresses(_: &mut SchemaGenerator) -> Schema {
    let message = "must be one address without <>, such as postmaster@example.com";
    list(text(254, &[(r"self.matches(r'^[!-;=?A-~]+@[^@\s<>]+$')", message)]), 1000, "set")
}

/// Patterns of sender addresses.
pub(crate) fn sender_patterns(_: &mut SchemaGenerator) -> Schema {
    let message = "must be a pattern of addresses, local@domain with * for any run of characters, such as \
                   *@spam.example or bounce-*@*";
    list(text(254, &[(r"self.matches(r'^[!-;=?A-~]+@[!-;=?A-~]+$')", message)]), 1000, "set")
}

/// The delimiter of subaddresses.
pub(crate) fn delimiter(_: &mut SchemaGenerator) -> Schema {
    let message = "must be one ASCII character that is no letter, digit, space, quote, backslash or @, such as '+'";
    text(1, &[(r"self.matches(r'^[!#$%&*+\-./=?^_{|}~]$')", message)])
}

/// What is dialled.
pub(crate) fn target(_: &mut SchemaGenerator) -> Schema {
    const TARGET: &str = concat!(
        r"isIP(self) ? !ip(self).isUnspecified() : ",
        r"self.matches(r'^([A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?\.)*[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?$')"
    );
    let message = "must be an IP address that can be dialled, or a DNS name, without port or brackets: 10.20.0.11, \
                   2001:db8::25 or mail.corp.example";
    text(253, &[(TARGET, message)])
}

/// A name that is looked up.
pub(crate) fn dns_name(_: &mut SchemaGenerator) -> Schema {
    text(253, &[(DNS_NAME, "must be a DNS name, such as mail.corp.example; it is no address and has no wildcard")])
}

/// The name in a certificate.
pub(crate) fn server_name(_: &mut SchemaGenerator) -> Schema {
    const NAME: &str =
        r"self.matches(r'^([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)*[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?$')";
    text(253, &[(NAME, "must be the DNS name in the server's certificate, such as mail.corp.example")])
}

/// The name in a client's certificate.
pub(crate) fn client_name(_: &mut SchemaGenerator) -> Schema {
    text(
        253,
        &[(DNS_NAME, "must be a DNS name in the client's certificate, such as app.corp.example; it has no wildcard")],
    )
}

/// A range of addresses that is named, so never everyone.
pub(crate) fn range(_: &mut SchemaGenerator) -> Schema {
    const EVERYONE: &str = "is everyone, and /0 is never taken: name the networks that are meant";
    const NOT_ZERO: &str = "!isCIDR(self) || cidr(self).prefixLength() > 0";
    text(43, &[("isCIDR(self)", IS_CIDR), (NOT_ZERO, EVERYONE), (MASKED, HOST_BITS)])
}

/// Ranges that are taken out of another.
pub(crate) fn exceptions(_: &mut SchemaGenerator) -> Schema {
    list(text(43, &[("isCIDR(self)", IS_CIDR), (MASKED, HOST_BITS)]), 16, "atomic")
}

/// What a duration looks like.
const DURATION: &str = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$";

/// A duration within bounds, which are durations too.
fn duration(least: &str, most: &str) -> Schema {
    let form = format!("self.matches(r'{DURATION}')");
    let bounds = format!(
        "!self.matches(r'{DURATION}') || \
         (duration(self) >= duration('{least}') && duration(self) <= duration('{most}'))"
    );
    text(
        24,
        &[
            (&form, "must be a duration of hours, minutes and seconds, such as 120h (not 5d) or 1h30m"),
            (&bounds, &format!("must be from {least} to {most}")),
        ],
    )
}

/// How long mail is kept, with the bounds of `postern_wire::limits::QUEUE_LIFETIME` and `QUEUE_NULL_SENDER_LIFETIME`.
pub(crate) fn lifetime(_: &mut SchemaGenerator) -> Schema {
    duration("1m", "720h")
}

/// When a sender is told that mail waits, with the bounds of `postern_wire::limits::QUEUE_WARN_AFTER`.
pub(crate) fn warn_after(_: &mut SchemaGenerator) -> Schema {
    duration("0s", "720h")
}

/// Mail with the null sender is never kept longer than other mail. What is no duration is told so by a rule of its own.
pub(crate) const NULL_SENDER_NOT_LONGER: &str = "[has(self.lifetime), has(self.nullSenderLifetime)].exists(set, !set) || \
    [self.lifetime, self.nullSenderLifetime].exists(text, !text.matches(r'^([0-9]{1,5}(h|m|s|ms)){1,4}$')) || \
    duration(self.nullSenderLifetime) <= duration(self.lifetime)";

/// The largest message, with the bounds of `postern_wire::limits::MESSAGE_SIZE`.
pub(crate) fn message_size(_: &mut SchemaGenerator) -> Schema {
    // As a text, for a number is a quantity too.
    const FORM: &str = "isQuantity(string(self))";
    const BOUNDS: &str = "!isQuantity(string(self)) || (quantity(string(self)).compareTo(quantity('64Ki')) >= 0 && \
        quantity(string(self)).compareTo(quantity('1Gi')) <= 0)";
    with(
        json_schema!({"x-kubernetes-int-or-string": true, "maxLength": 32}),
        &[(FORM, "must be a number of octets, such as 35Mi, 1Gi or 36700160"), (BOUNDS, "must be from 64Ki to 1Gi")],
    )
}
