//! Sentences for people. Pure.

pub(super) fn capitalised(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Appends `sentence` in lines of at most 76 characters where its words allow.
pub(super) fn wrap(text: &mut String, sentence: &str, indent: &str) {
    let mut column = 0;
    for word in sentence.split(' ').filter(|word| !word.is_empty()) {
        if column > 0 && column + 1 + word.len() > 76 {
            text.push('\n');
            column = 0;
        }
        text.push_str(if column == 0 { indent } else { " " });
        text.push_str(word);
        column += word.len() + if column == 0 { indent.len() } else { 1 };
    }
    text.push('\n');
}

/// What the sender can do about it, by RFC 3463.
pub(super) fn advice(status: &str) -> &'static str {
    let (class, detail) = status.split_once('.').unwrap_or(("5", "0.0"));
    match (class, detail) {
        (_, "1.1" | "1.2" | "1.3" | "1.6" | "1.10") => {
            "What you can do: check the address, letter by letter. As it is written it does not exist there, or not any more."
        }
        (_, "1.7" | "1.8") => {
            "What you can do: check the sender address that your program uses. The other side does not accept it."
        }
        (_, "2.2") => {
            "What you can do: tell the recipient in another way that the mailbox is full, and send it again later."
        }
        (_, "2.3" | "3.4") => {
            "What you can do: make it smaller. It is larger than the other side takes; share large files in another way."
        }
        (_, "4.6") => {
            "What you can do: show this to the administrator of your mail. The message would go round in a circle, which is a \
             mistake in the settings of a mail server."
        }
        (_, "4.7") => {
            "What you can do: send it again later, or ask the recipient in another way whether their mail works. All tries \
             until now failed."
        }
        (_, detail) if detail.starts_with("7.") => {
            "What you can do: ask the recipient, or the administrator of their mail, to allow it. The rules of the other side \
             refuse it, and sending it again unchanged will not help."
        }
        _ => "What you can do: if the reason above does not tell you, show this to the administrator of your mail.",
    }
}

/// `once`, `twice`, `12 times`.
pub(super) fn times(count: u32) -> String {
    match count {
        0 | 1 => "once".to_owned(),
        2 => "twice".to_owned(),
        count => format!("{count} times"),
    }
}
