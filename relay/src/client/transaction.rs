//! One message for some recipients: its commands as a server with these extensions takes them, and why another cannot have
//! it. Pure.
//!
//! Nothing is converted on the way: a conversion would break signatures, and change what somebody wrote. So binary content
//! goes only by BDAT to a server with CHUNKING and BINARYMIME, and what needs SMTPUTF8 only to a server that offers it; to any
//! other it is refused (RFC 3030, section 3; RFC 6531, section 3.2). A domain in Unicode is no obstacle: domains are A-labels
//! here, and an A-label needs no extension.

use std::fmt::Write as _;

use super::Capabilities;
use super::verdict::Fault;
use crate::address::{Mailbox, ReversePath};
use crate::envelope::{Dsn, Notify, OriginalRecipient, RecipientDsn, Return};

/// One message for some recipients on one connection.
#[derive(Clone, Debug)]
pub struct Transaction<'a> {
    /// MAIL's argument.
    pub sender: &'a ReversePath,
    /// RCPT's, at least one.
    pub recipients: Vec<Recipient<'a>>,
    /// Octets of the content, as SIZE counts them: CRLF line ends, no doubled dots.
    pub size: u64,
    /// Whether the content has octets above 127. To a server without 8BITMIME it is sent all the same and as it is: RFC 6152
    /// wants a conversion or a bounce there, but a conversion breaks signatures, and a bounce for every umlaut because an
    /// old server is silent about what it can is not what anyone wants. Octets above 127 have passed everywhere for decades.
    pub eight_bit: bool,
    /// Whether the content is no sequence of lines (BINARYMIME): it goes by BDAT or not at all.
    pub binary: bool,
    /// Whether sender or header need SMTPUTF8. A recipient that needs it shows it by its own address.
    pub utf8: bool,
    /// What the sender asked about notifications, for a server that offers DSN.
    pub dsn: Option<&'a Dsn>,
    /// Whether any line of the content begins with a dot.
    pub leading_dots: bool,
}

/// A recipient of a transaction.
#[derive(Clone, Copy, Debug)]
pub struct Recipient<'a> {
    /// RCPT's argument.
    pub mailbox: &'a Mailbox,
    /// What the sender asked about it, for a server that offers DSN.
    pub dsn: Option<&'a RecipientDsn>,
}

impl Recipient<'_> {
    fn needs_utf8(&self) -> bool {
        !self.mailbox.local_part().is_ascii()
    }

    /// Why a server that offers this cannot have the message for this recipient, though it may for others.
    pub(super) fn obstacle(&self, offered: Capabilities) -> Option<Fault> {
        (self.needs_utf8() && !offered.smtp_utf8)
            .then(|| Fault::new("5.6.7", "does not offer SMTPUTF8, which this address needs"))
    }
}

impl Transaction<'_> {
    /// Why a server that offers this cannot have the message for anybody.
    pub(super) fn obstacle(&self, offered: Capabilities) -> Option<Fault> {
        if offered.is_too_large(self.size) {
            let most = offered.size.unwrap_or_default();
            let text = format!("takes messages of at most {most} octets, and this one has {}", self.size);
            return Some(Fault::new("5.3.4", text));
        }
        if self.binary && !(offered.chunking && offered.binary_mime) {
            let text = "does not offer CHUNKING and BINARYMIME, and this message is binary: it is not converted";
            return Some(Fault::new("5.6.3", text));
        }
        if self.needs_utf8() && !offered.smtp_utf8 {
            return Some(Fault::new("5.6.7", "does not offer SMTPUTF8, which this message's sender or header needs"));
        }
        None
    }

    /// Whether the content goes by BDAT: what is binary; and where BDAT is offered, what has lines that begin with a dot, for
    /// the end of those is what servers disagree about, and a chunk leaves nothing to disagree about. All other content goes by
    /// DATA, which takes as many round trips. BDAT together with MAIL and RCPT would save one; but then a connection that dies
    /// before MAIL is answered may have taken the message, and nobody could know whether to send it again.
    pub(super) fn goes_as_chunk(&self, offered: Capabilities) -> bool {
        self.binary || self.leading_dots && offered.chunking
    }

    fn needs_utf8(&self) -> bool {
        self.utf8 || self.sender.mailbox().is_some_and(|mailbox| !mailbox.local_part().is_ascii())
    }

    /// MAIL, without its CRLF.
    pub(super) fn mail_command(&self, offered: Capabilities) -> String {
        let mut command = format!("MAIL FROM:{}", self.sender);
        if offered.size.is_some() {
            let _ = write!(command, " SIZE={}", self.size);
        }
        if self.binary {
            command.push_str(" BODY=BINARYMIME");
        } else if self.eight_bit && offered.eight_bit_mime {
            command.push_str(" BODY=8BITMIME");
        }
        if offered.smtp_utf8 && (self.needs_utf8() || self.recipients.iter().any(Recipient::needs_utf8)) {
            command.push_str(" SMTPUTF8");
        }
        if let Some(dsn) = self.dsn.filter(|_| offered.dsn) {
            match dsn.ret {
                Some(Return::Full) => command.push_str(" RET=FULL"),
                Some(Return::Headers) => command.push_str(" RET=HDRS"),
                None => {}
            }
            if let Some(envid) = &dsn.envid {
                command.push_str(" ENVID=");
                xtext(&mut command, envid);
            }
        }
        command
    }

    /// Appends RCPT, with its CRLF.
    pub(super) fn recipient_command(&self, recipient: &Recipient<'_>, offered: Capabilities, out: &mut String) {
        let _ = write!(out, "RCPT TO:<{}>", recipient.mailbox);
        if let Some(RecipientDsn { notify, original }) = recipient.dsn.filter(|_| offered.dsn) {
            if let Some(notify) = notify {
                let _ = write!(out, " NOTIFY={}", wishes(*notify));
            }
            if let Some(OriginalRecipient { kind, address }) = original {
                let _ = write!(out, " ORCPT={kind};");
                if kind.eq_ignore_ascii_case("utf-8") { utf8_xtext(out, address) } else { xtext(out, address) }
            }
        }
        out.push_str("\r\n");
    }
}

fn wishes(Notify { success, failure, delay }: Notify) -> String {
    let words = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
    let words: Vec<_> = words.into_iter().filter(|(wished, _)| *wished).map(|(_, word)| word).collect();
    if words.is_empty() { "NEVER".to_owned() } else { words.join(",") }
}

/// `xtext` (RFC 3461, section 4).
fn xtext(out: &mut String, text: &str) {
    for octet in text.bytes() {
        match octet {
            b'!'..=b'~' if !matches!(octet, b'+' | b'=') => out.push(char::from(octet)),
            _ => {
                let _ = write!(out, "+{octet:02X}");
            }
        }
    }
}

/// `utf-8-addr-xtext` (RFC 6533, section 3): ASCII, so that it passes with and without SMTPUTF8.
fn utf8_xtext(out: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '!'..='~' if !matches!(letter, '+' | '=' | '\\') => out.push(letter),
            _ => {
                let _ = write!(out, "\\x{{{:02X}}}", u32::from(letter));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Capabilities = Capabilities {
        pipelining: true,
        eight_bit_mime: true,
        starttls: false,
        chunking: true,
        binary_mime: true,
        smtp_utf8: true,
        dsn: true,
        auth_plain: false,
        auth_login: false,
        size: Some(0),
    };

    fn transaction<'a>(sender: &'a ReversePath, mailbox: &'a Mailbox) -> Transaction<'a> {
        Transaction {
            sender,
            recipients: vec![Recipient { mailbox, dsn: None }],
            size: 7,
            eight_bit: true,
            binary: false,
            utf8: false,
            dsn: None,
            leading_dots: false,
        }
    }

    #[test]
    fn each_parameter_goes_only_where_its_extension_is_offered() {
        let (sender, mailbox) = (ReversePath::Mailbox("s@a.test".parse().unwrap()), "r@b.test".parse().unwrap());
        let dsn = Dsn { envid: Some("a+b=c d".into()), ret: Some(Return::Headers), ..Dsn::default() };
        let mut transaction = Transaction { dsn: Some(&dsn), utf8: true, ..transaction(&sender, &mailbox) };
        assert_eq!(
            transaction.mail_command(ALL),
            "MAIL FROM:<s@a.test> SIZE=7 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb+3Dc+20d"
        );
        assert_eq!(transaction.mail_command(Capabilities::default()), "MAIL FROM:<s@a.test>");
        (transaction.utf8, transaction.dsn, transaction.binary) = (false, None, true);
        assert_eq!(transaction.mail_command(ALL), "MAIL FROM:<s@a.test> SIZE=7 BODY=BINARYMIME");
    }

    #[test]
    fn wishes_about_a_recipient_are_passed_on() {
        let (sender, mailbox) = (ReversePath::Null, "r@b.test".parse().unwrap());
        let transaction = transaction(&sender, &mailbox);
        let said = |notify: Option<Notify>, original: Option<(&str, &str)>| {
            let original =
                original.map(|(kind, address)| OriginalRecipient { kind: kind.into(), address: address.into() });
            let (dsn, mut out) = (RecipientDsn { notify, original }, String::new());
            transaction.recipient_command(&Recipient { mailbox: &mailbox, dsn: Some(&dsn) }, ALL, &mut out);
            out
        };
        let notify = |success, failure, delay| Some(Notify { success, failure, delay });
        assert_eq!(said(notify(false, false, false), None), "RCPT TO:<r@b.test> NOTIFY=NEVER\r\n");
        assert_eq!(
            said(notify(true, true, true), Some(("rfc822", "x+y@b.test"))),
            "RCPT TO:<r@b.test> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;x+2By@b.test\r\n"
        );
        assert_eq!(
            said(None, Some(("utf-8", "\u{e4}+\\@b.test"))),
            "RCPT TO:<r@b.test> ORCPT=utf-8;\\x{E4}\\x{2B}\\x{5C}@b.test\r\n"
        );
    }

    #[test]
    fn says_what_a_server_lacks() {
        let (sender, mailbox) = (ReversePath::Null, "r@b.test".parse().unwrap());
        let plain = transaction(&sender, &mailbox);
        let status = |transaction: &Transaction<'_>, offered| transaction.obstacle(offered).map(|fault| fault.status);
        assert_eq!(status(&plain, Capabilities::default()), None);
        let binary = Transaction { binary: true, ..plain.clone() };
        assert_eq!(status(&binary, ALL), None);
        for offered in [Capabilities { chunking: false, ..ALL }, Capabilities { binary_mime: false, ..ALL }] {
            assert_eq!(status(&binary, offered), Some("5.6.3"));
        }
        let utf8 = Transaction { utf8: true, ..plain.clone() };
        assert_eq!((status(&utf8, ALL), status(&utf8, Capabilities::default())), (None, Some("5.6.7")));
        assert_eq!(status(&plain, Capabilities { size: Some(6), ..ALL }), Some("5.3.4"));
    }
}
