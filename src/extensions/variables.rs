//! The variables, which show the counts of one response. (nginx has none.)
//!
//! Configurations depend on every name and on the form of the texts.

#![forbid(unsafe_code)]

use crate::extensions::text::{Text, Unit};
use crate::extensions::totals::{Response, name};

/// More bytes than the text of any variable ever has.
pub(crate) const VARIABLE_LEN: usize = 32;

/// Appends the value of the variable with this number: `$event_pipe_spilled` is 0, the
/// others follow in the order of the table in `docs/metrics.md`. Appends nothing for
/// other numbers.
pub(crate) fn variable(response: &Response, number: usize, text: &mut Text<'_>) {
    match number {
        0 => text.number(response.spilled),
        1 => text.number(response.peak),
        2 => text.number(response.buffers),
        3 => text.number(response.buffers_max),
        4 => text.number(response.blocked_count),
        5 => text.value(Unit::Thousandth, response.blocked_time),
        6 => text.value(Unit::Thousandth, response.client_time),
        7 => text.number(response.reads),
        8 => text.number(response.writes),
        9 => text.add(name(response.end)),
        10 => text.number(response.memory),
        _ => text,
    };
}

/// Whether the variable with this number is a time, which grows between two turns as
/// well.
pub(crate) fn is_time(number: usize) -> bool {
    matches!(number, 5 | 6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extensions::text::tests::written;
    use crate::extensions::totals::ENDS;
    use crate::extensions::totals::tests::RESPONSE;

    fn variables(response: &Response) -> Vec<String> {
        let variable = |number| written(1 << 20, |text| variable(response, number, text));
        (0..11).map(variable).collect()
    }

    #[test]
    fn no_variable_is_too_long() {
        for end in ENDS {
            let response = Response {
                spilled: u64::MAX,
                blocked_time: u64::MAX,
                end,
                ..RESPONSE
            };
            let mut variables = variables(&response).into_iter();
            assert!(variables.all(|text| text.len() <= VARIABLE_LEN));
        }
    }

    #[test]
    fn a_variable_has_its_number() {
        assert_eq!(
            variables(&RESPONSE),
            [
                "3000", "2049", "3", "8", "2", "1.007", "0.012", "40", "30", "complete", "524288"
            ]
        );

        assert_eq!(written(32, |text| variable(&RESPONSE, 11, text)), "");
    }
}
