//! The list of faults.

use crate::Result;

/// A change that makes the pipe wrong.
#[derive(Debug, Default)]
pub(crate) struct Fault {
    pub(crate) name: String,
    /// The file that it is in.
    pub(crate) file: String,
    /// The known case that finds it, without its ending. `None` if it is for the
    /// differential harness.
    pub(crate) case: Option<String>,
    old: String,
    new: String,
}

impl Fault {
    /// All of the list.
    pub(crate) fn all() -> Result<Vec<Self>> {
        let mut faults: Vec<Self> = Vec::new();
        for line in include_str!("faults.txt").lines() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line.strip_prefix("= ") {
                faults.push(Self {
                    name: name.to_string(),
                    ..Self::default()
                });
                continue;
            }
            let fault = faults.last_mut().ok_or("the list starts without a name")?;
            match line.split_at(1) {
                ("-", old) => append(&mut fault.old, old),
                ("+", new) => append(&mut fault.new, new),
                ("?", case) => fault.case = Some(case.trim().to_string()),
                _ => fault.file = line.to_string(),
            }
        }
        Ok(faults)
    }

    /// The file's text with the fault in it.
    pub(crate) fn planted(&self, text: &str) -> Result<String> {
        match text.matches(&self.old).count() {
            1 => Ok(text.replacen(&self.old, &self.new, 1)),
            n => Err(format!(
                "{}: what it changes stands {n} times in {}",
                self.name, self.file
            )
            .into()),
        }
    }
}

fn append(text: &mut String, line: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(line);
}
