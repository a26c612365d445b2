//! A test in a process of its own: what it costs is then not what its neighbours cost.
//!
//! The tests of one program share a process, and memory has no owner there.

use std::env;
use std::process::Command;

/// Names the test that a process was started for.
const NAME: &str = "POSTERN_TEST_ALONE";

/// Runs `test`, which is the body of the test called `name` in this program (`module::function`), in another process that
/// runs nothing else, and ends as it has ended.
///
/// # Panics
/// When it has failed there, with all that it said, or when there is no test of that name.
pub fn alone(name: &str, test: impl FnOnce()) {
    if env::var(NAME).is_ok_and(|chosen| chosen == name) {
        return test();
    }
    let program = env::current_exe().expect("this program has a path");
    let run = Command::new(program).args(["--exact", name, "--nocapture"]).env(NAME, name).output();
    let run = run.expect("this program starts again");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success() && said.contains("test result: ok. 1 passed"),
        "{name}: {}\n{said}{}",
        run.status,
        String::from_utf8_lossy(&run.stderr)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_elsewhere_is_what_was_named() {
        let name = "alone::tests::what_runs_elsewhere_is_what_was_named";
        alone(name, || assert_eq!(env::var(NAME).as_deref(), Ok(name)));
        let missing = std::panic::catch_unwind(|| alone("alone::tests::there_is_no_such_test", || ()));
        assert!(missing.is_err());
    }

    #[test]
    fn a_failure_there_is_a_failure_here() {
        let name = "alone::tests::a_failure_there_is_a_failure_here";
        let ended = std::panic::catch_unwind(|| alone(name, || panic!("on purpose")));
        let failure = ended.expect_err("it has failed there");
        if env::var(NAME).is_ok() {
            std::panic::resume_unwind(failure);
        }
    }
}
