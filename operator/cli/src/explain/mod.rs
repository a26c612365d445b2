//! `postern explain`: what the relays would do with a message, step by step, and which field of which object makes it so.
//!
//! It asks the relay's own rules and routes (`postern_relay::policy`, `postern_relay::route`), which are pure; nothing is
//! connected to, but name servers for names that stand in sources and blocked clients.

mod ask;
mod names;
mod route;
mod source;
mod step;
mod story;
mod text;

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args as ClapArgs;
use postern_relay::config::{Secrets, build};
use postern_wire::Digest;
use serde::Serialize;

use crate::format::{Format, structured};
use ask::Question;
use source::Found;
use step::{Answer, Verdict};
use story::HeaderFromNeeded;

/// Refused for good, all of it or some recipients.
const REFUSED: u8 = 3;
/// Not now: 4xx, or accepted and held.
const NOT_NOW: u8 = 4;

/// Tell what becomes of a message, step by step, and which field of which object makes it so
///
/// The decision is made by the relay's own rules, in their order: connect, who is the client, MAIL, each RCPT, the content's
/// limits, and where the mail goes. Nothing is sent.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  postern explain -f dmz/ --client 192.0.2.7 --from anna@fabrikam.com --to bob@contoso.com
  kubectl postern explain -n dmz --client 192.0.2.7 --from anna@fabrikam.com --to bob@contoso.com
  kubectl postern explain -n dmz --what-if new-domain.yaml --client 10.20.0.5 --from app@contoso.com --to a@b.example

In a cluster the published settings are asked (the ConfigMap postern-settings), which the relays obey, and objects that are \
newer are named; --what-if is laid over the objects as they are now. \
Names among sources and blocked clients are looked up here and now; the relays ask their own name servers. Certificates are \
taken as shown, not checked.

Exit codes: 0 every recipient is accepted; 1 failed, with the reason on standard error; 2 wrong usage; 3 some recipient is \
refused for good (5xx); 4 some recipient is not taken now (4xx), or taken and held.")]
pub(crate) struct Args {
    #[command(flatten)]
    question: Question,

    #[command(flatten)]
    source: source::Place,

    #[command(flatten)]
    names: names::Lookups,

    /// How to print the result
    #[arg(short = 'o', long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// All that is printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation {
    settings: About,
    /// What had to be taken for granted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    assumed: Vec<String>,
    #[serde(flatten)]
    answer: Answer,
    /// The same without the what-if files.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Answer>,
}

/// Which settings were asked.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct About {
    digest: String,
    from: String,
    /// What is wrong with them, or to know about them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let Args { question, source, names, output } = args;
    let Some(Found { now, what_if, never_source, told }) = source::find(source)? else { return Ok(ExitCode::FAILURE) };
    let question = &question.never_source_too(&never_source);
    let (mut assumed, before) = match &what_if {
        None => (Vec::new(), None),
        Some(_) => {
            let (answer, assumed) = ask(&now, question, names)?;
            (assumed, Some(answer))
        }
    };
    let asked = what_if.unwrap_or(now);
    let (answer, more) = ask(&asked, question, names)?;
    assumed.extend(more);
    assumed.sort();
    assumed.dedup();
    let source::Settings { snapshot, from, mut notes } = asked;
    for object in answer.objects() {
        let told = told.get(object).into_iter().flatten();
        notes.extend(told.map(|says| format!("{object}: {says}")));
    }
    let settings = About { digest: Digest::of(&snapshot).short().to_owned(), from, notes };
    let explanation = Explanation { settings, assumed, answer, before };
    let mut out = io::stdout().lock();
    match output {
        Format::Text => text::print(&mut out, &explanation)?,
        format => structured(&mut out, *format, &explanation)?,
    }
    out.flush()?;
    Ok(match explanation.answer.verdict {
        Verdict::Accepted => ExitCode::SUCCESS,
        Verdict::Held | Verdict::Deferred => ExitCode::from(NOT_NOW),
        Verdict::Refused => ExitCode::from(REFUSED),
    })
}

/// The answer of some settings, and what was taken for granted.
fn ask(settings: &source::Settings, question: &Question, names: &names::Lookups) -> Result<(Answer, Vec<String>)> {
    // Who passes does not depend on any secret, and whoever asks may not be allowed to read them.
    let built = build(settings.snapshot.clone(), &Secrets::default(), None);
    let (config, _) = built.context("a relay would refuse these settings")?;
    let (resolved, assumed) = names::resolve(&config, names)?;
    let asked = story::Settings { snapshot: settings.snapshot.clone(), config, resolved };
    match story::tell(&asked, question) {
        Ok(answer) => Ok((answer, assumed)),
        Err(HeaderFromNeeded) => bail!(
            "the client is a source and the sender is <>: the header field From decides as which domain it sends. Say \
             its domain with --header-from"
        ),
    }
}
