//! What came of a case, and whether that is right.

use std::fmt::Write as _;
use std::io::{Error, Read, Result};

use flate2::read::GzDecoder;

use super::case::{Amount, Case, Content, Expect, Log, Spill, Stored};
use crate::client::{Answer, Ending};

/// All that can be seen of a case from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the client got.
    pub answers: Vec<Answer>,
    /// The requests that came to the upstream.
    pub requests: Vec<String>,
    /// How many connections they came by.
    pub connections: usize,
    /// The lines of the error log, by kind, sorted.
    pub log: Vec<String>,
    /// The lines of the access log.
    pub access: Vec<String>,
    /// The file that was stored.
    pub stored: Option<Vec<u8>>,
}

/// What nginx says when it uses a temporary file.
const SPILLED: &str = "is buffered to a temporary file";

/// Checks `outcome` against what `case` expects; an error says all that's wrong.
pub fn check(case: &Case, outcome: &Outcome) -> Result<()> {
    let mut wrong = String::new();
    for (nth, (exchange, answer)) in case.exchanges.iter().zip(&outcome.answers).enumerate() {
        if let Err(error) = check_answer(&exchange.expect, answer) {
            let _ = writeln!(wrong, "answer {nth}: {error}");
        }
    }
    if outcome.answers.len() != case.exchanges.len() {
        let _ = writeln!(wrong, "{} answers", outcome.answers.len());
    }
    let spilled = outcome.log.iter().any(|line| line.contains(SPILLED));
    if case.spill == Spill::Must && !spilled || case.spill == Spill::Never && spilled {
        let _ = writeln!(wrong, "temporary file used: {spilled}");
    }
    if case
        .requests
        .is_some_and(|count| count != outcome.requests.len())
    {
        let _ = writeln!(wrong, "requests to the upstream: {:?}", outcome.requests);
    }
    if case
        .connections
        .is_some_and(|count| count != outcome.connections)
    {
        let _ = writeln!(
            wrong,
            "connections to the upstream: {}",
            outcome.connections
        );
    }
    if case
        .says
        .is_some_and(|text| !outcome.log.iter().any(|line| line.contains(text)))
    {
        let _ = writeln!(wrong, "not in the error log: {:?}", case.says);
    }
    check_store(case, outcome, &mut wrong);
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Error::other(format!(
            "{wrong}error log: {:#?}",
            outcome.log
        ))),
    }
}

fn check_store(case: &Case, outcome: &Outcome, wrong: &mut String) {
    let body = &case.scripts[0].1[0].body;
    let expected = match case.store {
        None => return,
        Some(Stored::All) => Some(body.bytes()),
        Some(Stored::Nothing) => None,
    };
    if outcome.stored != expected {
        let size = outcome.stored.as_ref().map(Vec::len);
        let _ = writeln!(wrong, "stored: {size:?} bytes, not the body");
    }
}

fn check_answer(expect: &Expect, answer: &Answer) -> Result<()> {
    if let Some(status) = expect.status.filter(|status| *status != answer.status) {
        let got = answer.status;
        return Err(Error::other(format!(
            "status {got}, not {status}: {}",
            summary(answer)
        )));
    }
    for (name, value) in &expect.headers {
        if answer.header(name) != Some(value) {
            return Err(Error::other(format!(
                "{name} is not {value}: {:?}",
                answer.headers
            )));
        }
    }
    if answer.excess > 0 {
        return Err(Error::other(format!(
            "{} bytes after the end",
            answer.excess
        )));
    }
    check_amount(expect.amount, answer)?;
    match expect.content.bytes() {
        Some(expected) => check_body(&expected, expect, answer),
        None => Ok(()),
    }
}

fn check_amount(amount: Amount, answer: &Answer) -> Result<()> {
    let right = match amount {
        Amount::All => answer.complete,
        Amount::UntilClose => !answer.complete && answer.ending == Ending::Closed,
        Amount::Only(_) => !answer.complete && answer.ending == Ending::Closed,
        Amount::Same | Amount::Received(_) | Amount::Some => !answer.complete,
    };
    match right {
        true => Ok(()),
        false => Err(Error::other(format!(
            "{amount:?} expected: {}",
            summary(answer)
        ))),
    }
}

fn check_body(expected: &[u8], expect: &Expect, answer: &Answer) -> Result<()> {
    let body = match expect.content {
        Content::Gzip(_) => gunzip(&answer.body, expect.amount)?,
        _ => answer.body.clone(),
    };
    let size = match expect.amount {
        Amount::All | Amount::UntilClose => expected.len(),
        Amount::Only(size) => size,
        Amount::Same | Amount::Received(_) | Amount::Some => body.len().min(expected.len()),
    };
    match difference(&expected[..size], &body) {
        None => Ok(()),
        Some(difference) => Err(Error::other(format!("{difference}; {}", summary(answer)))),
    }
}

/// A broken off stream gives what is in it.
fn gunzip(bytes: &[u8], amount: Amount) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    match GzDecoder::new(bytes).read_to_end(&mut text) {
        Err(error) if amount == Amount::All => Err(error),
        _ => Ok(text),
    }
}

/// Where two bodies differ.
fn difference(expected: &[u8], got: &[u8]) -> Option<String> {
    if expected == got {
        return None;
    }
    let same = expected.iter().zip(got).take_while(|(a, b)| a == b).count();
    Some(format!(
        "a body of {} bytes, not of {}, differs from byte {same} on",
        got.len(),
        expected.len(),
    ))
}

fn summary(answer: &Answer) -> String {
    format!(
        "status {}, {} bytes, complete {}, {:?}, {:?}",
        answer.status,
        answer.body.len(),
        answer.complete,
        answer.ending,
        answer.headers,
    )
}

/// Compares what came of `case` on stock and on ours; an error says all that
/// differs.
pub fn compare(case: &Case, stock: &Outcome, ours: &Outcome) -> Result<()> {
    let mut wrong = String::new();
    let pairs = stock.answers.iter().zip(&ours.answers);
    for (exchange, (stock, ours)) in case.exchanges.iter().zip(pairs) {
        if let Err(error) = compare_answers(&exchange.expect, stock, ours) {
            let _ = writeln!(wrong, "{error}");
        }
    }
    let leaves = case
        .exchanges
        .iter()
        .any(|exchange| exchange.manner.leave.is_some());
    if !leaves && stock.access != ours.access {
        let _ = writeln!(
            wrong,
            "access log: {:?}, not {:?}",
            ours.access, stock.access
        );
    }
    if !leaves && stock.requests != ours.requests {
        let _ = writeln!(
            wrong,
            "requests: {:?}, not {:?}",
            ours.requests, stock.requests
        );
    }
    let (stock_log, ours_log) = (log_lines(case, stock), log_lines(case, ours));
    if stock_log != ours_log {
        let _ = writeln!(wrong, "error log: {ours_log:#?}, not {stock_log:#?}");
    }
    if stock.stored != ours.stored {
        let _ = writeln!(wrong, "the stored files differ");
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Error::other(wrong)),
    }
}

fn compare_answers(expect: &Expect, stock: &Answer, ours: &Answer) -> Result<()> {
    let line = |stock: &dyn std::fmt::Debug, ours: &dyn std::fmt::Debug| {
        Error::other(format!("ours: {ours:?}, stock: {stock:?}"))
    };
    if expect.status.is_none() {
        // How far it gets depends on timing.
        return Ok(());
    }
    if stock.status != ours.status {
        return Err(line(&stock.status, &ours.status));
    }
    if stable(&stock.headers) != stable(&ours.headers) {
        return Err(line(&stock.headers, &ours.headers));
    }
    if (stock.complete, &stock.trailers) != (ours.complete, &ours.trailers) {
        return Err(line(&stock.trailers, &ours.trailers));
    }
    if expect.amount == Amount::Some {
        return Ok(());
    }
    if stock.ending != ours.ending {
        return Err(line(&stock.ending, &ours.ending));
    }
    if let Amount::Received(size) = expect.amount {
        return match ours.body.len() == size && stock.body.len() <= size {
            true => Ok(()),
            false => Err(line(&stock.body.len(), &ours.body.len())),
        };
    }
    // How the same text is compressed depends on how it comes in.
    let same = || difference(&stock.body, &ours.body);
    match same().filter(|_| !matches!(expect.content, Content::Gzip(_))) {
        None => Ok(()),
        Some(difference) => Err(Error::other(difference)),
    }
}

/// The headers that do not tell the time.
fn stable(headers: &[String]) -> Vec<&String> {
    let of_time = |line: &&String| line.starts_with("Date: ") || line.starts_with("Expires: ");
    headers.iter().filter(|line| !of_time(line)).collect()
}

fn log_lines<'a>(case: &Case, outcome: &'a Outcome) -> Vec<&'a String> {
    let counts = |line: &&String| {
        let spill = case.spill == Spill::May && line.contains(SPILLED);
        let minor = case.log == Log::Severe && line.starts_with("[info]");
        let unsure = case.unsure.iter().any(|text| line.contains(text));
        !spill && !minor && !unsure
    };
    outcome.log.iter().filter(counts).collect()
}

#[cfg(test)]
mod tests {
    //! The checks must catch whatever can go wrong.

    use super::*;
    use crate::upstream::{Protocol, Reply};

    fn case() -> Case {
        Case::new("case", Protocol::Http, Reply::random(5, 3000)).with(|case| {
            case.requests = Some(1);
            case.store = Some(Stored::All);
        })
    }

    fn right() -> Outcome {
        let body = Reply::random(5, 3000).body.bytes();
        Outcome {
            answers: vec![Answer {
                status: 200,
                headers: vec!["Date: now".to_owned(), "X-Cache: MISS".to_owned()],
                body: body.clone(),
                trailers: Vec::new(),
                complete: true,
                ending: Ending::Closed,
                excess: 0,
            }],
            requests: vec!["GET /c0/main".to_owned()],
            connections: 1,
            log: vec!["[warn] something".to_owned()],
            access: vec!["200".to_owned()],
            stored: Some(body),
        }
    }

    /// A fault in the answer.
    fn plant(fault: impl FnOnce(&mut Answer)) -> Outcome {
        let mut outcome = right();
        fault(&mut outcome.answers[0]);
        outcome
    }

    #[test]
    fn the_right_outcome_is_right() {
        check(&case(), &right()).expect("right");
        compare(&case(), &right(), &right()).expect("equal");
        let later = plant(|answer| answer.headers[0] = "Date: later".to_owned());
        compare(&case(), &right(), &later).expect("equal but for the time");
    }

    #[test]
    fn wrong_answers_are_caught_even_if_they_are_equal() {
        let body = |change: fn(&mut Vec<u8>)| plant(move |answer| change(&mut answer.body));
        for (fault, outcome) in [
            ("a flipped bit", body(|body| body[1500] ^= 1)),
            ("a missing byte", body(|body| _ = body.remove(1500))),
            ("a missing end", body(|body| body.truncate(2999))),
            (
                "a buffer twice",
                body(|body| body.extend_from_within(1976..)),
            ),
            ("two buffers swapped", body(|body| body.rotate_left(1000))),
            ("nothing", body(Vec::clear)),
            ("another status", plant(|answer| answer.status = 206)),
            ("an open end", plant(|answer| answer.complete = false)),
            ("bytes after the end", plant(|answer| answer.excess = 1)),
        ] {
            assert!(check(&case(), &outcome).is_err(), "{fault}");
        }
    }

    #[test]
    fn what_is_not_seen_by_the_client_is_caught() {
        let mut requests = right();
        requests.requests.push("GET /c0/main".to_owned());
        let mut missing = right();
        missing.stored = None;
        let mut short = right();
        short.stored.as_mut().expect("stored").pop();
        let mut spilled = right();
        spilled.log.push(format!("[warn] a response {SPILLED} x"));
        let never = case().with(|case| case.spill = Spill::Never);
        for outcome in [requests, missing, short, spilled] {
            assert!(check(&never, &outcome).is_err());
        }
        let must = case().with(|case| case.spill = Spill::Must);
        assert!(check(&must, &right()).is_err());
    }

    #[test]
    fn a_body_that_breaks_off_is_still_checked() {
        let broken = case().amount(Amount::Some);
        let cut = |size: usize| {
            plant(|answer| {
                answer.body.truncate(size);
                answer.complete = false;
            })
        };
        check(&broken, &cut(1000)).expect("a prefix");
        let mut wrong = cut(1000);
        wrong.answers[0].body[999] ^= 1;
        assert!(check(&broken, &wrong).is_err());
        let same = case().amount(Amount::Same);
        compare(&broken, &cut(1000), &cut(900)).expect("either is a prefix");
        assert!(compare(&same, &cut(1000), &cut(900)).is_err());
        let received = case().amount(Amount::Received(1000));
        compare(&received, &cut(900), &cut(1000)).expect("stock may lack some");
        assert!(compare(&received, &cut(1000), &cut(900)).is_err());
        let exact = case().amount(Amount::Only(1000));
        check(&exact, &cut(1000)).expect("exactly that");
        assert!(check(&exact, &cut(999)).is_err());
    }

    #[test]
    fn every_difference_is_caught() {
        let mut log = right();
        log.log.clear();
        let mut twice = right();
        twice.log.push(twice.log[0].clone());
        let mut access = right();
        access.access[0] = "499".to_owned();
        let mut stored = right();
        stored.stored = None;
        let mut requests = right();
        requests.requests.clear();
        for ours in [
            log,
            twice,
            access,
            stored,
            requests,
            plant(|answer| answer.status = 304),
            plant(|answer| drop(answer.headers.pop())),
            plant(|answer| answer.body[0] ^= 1),
            plant(|answer| answer.trailers.push("X: y".to_owned())),
            plant(|answer| answer.complete = false),
            plant(|answer| answer.ending = Ending::Reset),
        ] {
            assert!(compare(&case(), &right(), &ours).is_err(), "{ours:#?}");
        }
    }
}
