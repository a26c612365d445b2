//! The relay logs in to a server (RFC 4954): PLAIN where it is offered, else LOGIN, and only over TLS with a verified
//! certificate. A password is in no fault, and in no reply that is told: a server could send it back.
//!
//! A login that is refused says nothing about any message: mail waits until somebody has put it right.

use super::opening::ask;
use super::verdict::{Fault, Said};
use super::wire::{Stream, Wire};
use super::{Capabilities, Reply, Timeouts};
use crate::config::Credentials;

/// Octets of a command with its CRLF (RFC 5321, section 4.5.3.1.4). A longer initial response goes on a line of its own.
const COMMAND_MAX: usize = 512;

/// Logs in.
pub(super) async fn login<S: Stream>(
    wire: &mut Wire<S>,
    offered: Capabilities,
    credentials: &Credentials,
    timeouts: &Timeouts,
) -> Result<(), Said> {
    let Credentials { username, password } = credentials;
    let lines = if offered.auth_plain {
        plain(username, password)
    } else if offered.auth_login {
        vec!["AUTH LOGIN".to_owned(), base64(username.as_bytes()), base64(password.as_bytes())]
    } else {
        return Err(Fault::new("4.7.4", "offers no login that can be used, neither PLAIN nor LOGIN").into());
    };
    let last = lines.len() - 1;
    for (place, line) in lines.iter().enumerate() {
        let reply = ask(wire, &format!("{line}\r\n"), "AUTH", timeouts).await?;
        match reply.code {
            235 if place == last => return Ok(()),
            334 if place < last => {}
            _ => return Err(refused(credentials, &reply).into()),
        }
    }
    Ok(())
}

/// RFC 4616: without an authorization identity.
fn plain(username: &str, password: &str) -> Vec<String> {
    let response = base64(format!("\0{username}\0{password}").as_bytes());
    let command = format!("AUTH PLAIN {response}");
    if command.len() + 2 <= COMMAND_MAX { vec![command] } else { vec!["AUTH PLAIN".to_owned(), response] }
}

fn refused(credentials: &Credentials, reply: &Reply) -> Fault {
    let Credentials { username, password } = credentials;
    let user: String = username.chars().map(|letter| if letter.is_ascii_graphic() { letter } else { '?' }).collect();
    let said = reply.to_string();
    let secrets =
        [password.to_string(), base64(password.as_bytes()), base64(format!("\0{username}\0{password}").as_bytes())];
    let said = if secrets.iter().any(|secret| said.contains(secret.as_str())) { reply.code.to_string() } else { said };
    // 454 and its like are the server's own trouble, not the login's.
    let (status, how) = if reply.is_not_now() { ("4.7.0", "cannot check") } else { ("4.7.8", "refused") };
    Fault::new(status, format!("{how} the login of {user}: {said}"))
}

/// RFC 4648, section 4, with padding.
fn base64(octets: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(octets.len().div_ceil(3) * 4);
    for chunk in octets.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, place| bits << 8 | u32::from(chunk.get(place).copied().unwrap_or(0)));
        for place in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(password: &str) -> Credentials {
        Credentials { username: "relay@a.test".into(), password: password.into() }
    }

    #[test]
    fn encodes_as_rfc_4648_does() {
        for (plain, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy"), ("\u{ff}~?", "w79+Pw==")]
        {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn a_long_response_goes_on_a_line_of_its_own() {
        assert_eq!(plain("tim", "tanstaaftanstaaf"), ["AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm"]);
        let long = plain("tim", &"x".repeat(400));
        assert!(long.len() == 2 && long[0] == "AUTH PLAIN" && long[1].len() > 512);
    }

    #[test]
    fn a_refusal_names_the_user_and_never_the_password() {
        let reply = |line: &str| Reply::parse(format!("{line}\r\n").as_bytes()).unwrap().unwrap().0;
        let fault = refused(&credentials("hunter22"), &reply("535 5.7.8 bad credentials"));
        assert_eq!(
            (fault.status, &*fault.text),
            ("4.7.8", "refused the login of relay@a.test: 535 5.7.8 bad credentials")
        );
        let fault = refused(&credentials("hunter22"), &reply("454 4.7.0 no directory"));
        assert_eq!(
            (fault.status, &*fault.text),
            ("4.7.0", "cannot check the login of relay@a.test: 454 4.7.0 no directory")
        );
        for echo in ["hunter22", &base64(b"hunter22"), &base64(b"\0relay@a.test\0hunter22")] {
            let fault = refused(&credentials("hunter22"), &reply(&format!("535 not {echo}!")));
            assert_eq!(fault.text, "refused the login of relay@a.test: 535");
        }
    }
}
