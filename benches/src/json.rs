//! What was measured, round by round, for other programs.

use super::measure::{Measured, MeasuredSide};
use super::{Programs, machine};

/// All of it as one JSON object.
pub(crate) fn text(all: &[Measured], programs: &Programs) -> String {
    object([
        ("machine", string(&machine::describe())),
        ("programs", string(&programs.describe())),
        ("cells", list(all.iter().map(cell))),
    ]) + "\n"
}

fn cell(measured: &Measured) -> String {
    let Measured {
        cell,
        responses,
        sides,
    } = measured;
    object([
        ("cell", string(&cell.to_string())),
        ("title", string(cell.family.title)),
        ("body_bytes", cell.size.to_string()),
        ("responses_per_round", responses.to_string()),
        ("sides", list(sides.iter().map(side))),
    ])
}

fn side(measured: &MeasuredSide) -> String {
    let calls = match &measured.calls {
        Some(calls) => object(calls.iter().map(|(name, count)| (name, number(count)))),
        None => "null".to_owned(),
    };
    object([
        ("side", string(&measured.side.to_string())),
        ("cpu_us_per_response", list(measured.cpu.iter().map(number))),
        (
            "responses_per_second",
            list(measured.rate.iter().map(number)),
        ),
        ("peak_kib", measured.peak_kib.to_string()),
        ("calls_per_mib", calls),
    ])
}

fn number(value: &f64) -> String {
    format!("{value:.3}")
}

fn string(text: &str) -> String {
    let escape = |character| match character {
        '"' | '\\' => format!("\\{character}"),
        ' '.. => character.to_string(),
        control => format!("\\u{:04x}", u32::from(control)),
    };
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}

fn list(values: impl Iterator<Item = String>) -> String {
    format!("[{}]", values.collect::<Vec<_>>().join(", "))
}

fn object<K, F>(fields: F) -> String
where
    K: AsRef<str>,
    F: IntoIterator<Item = (K, String)>,
{
    let fields = fields
        .into_iter()
        .map(|(name, value)| format!("{}: {value}", string(name.as_ref())));
    format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_strings() {
        assert_eq!(string("a\"b\\\n"), r#""a\"b\\\u000a""#);
    }

    #[test]
    fn puts_objects_together() {
        let fields = [("a", list(["1".into(), "2".into()].into_iter()))];
        assert_eq!(object(fields), r#"{"a": [1, 2]}"#);
    }
}
