//! What this pipe does beyond nginx's.
//!
//! Each feature is off while the two pipes are compared. Turned on alone, it may
//! make them part only behind the place where it has first done something, and
//! no invariant may break.

/// Something that a directive turns on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// `event_pipe_wide`: more is read and written at once.
    Wide,
    /// `event_pipe_lend`: the worker's buffers are received into.
    Lend,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Wide, Self::Lend];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wide => "wide",
            Self::Lend => "lend",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}
