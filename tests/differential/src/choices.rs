//! The source of every decision in a schedule.

use std::rc::Rc;

/// A sequence of decisions: made from a seed, read from the bytes of a fuzzer,
/// or replayed from a list. The same sequence makes the same schedule.
///
/// Zero is always the tamest choice, so a schedule shrinks as its numbers do,
/// and what is missing at the end of a list is zero.
#[derive(Clone, Debug)]
pub struct Choices {
    source: Source,
    taken: usize,
    record: Option<Vec<u32>>,
}

#[derive(Clone, Debug)]
enum Source {
    Seed(u64),
    /// The bytes, how many are used, and the seed for what follows them.
    Bytes(Rc<[u8]>, usize, u64),
    List(Rc<[u32]>),
}

impl Choices {
    /// Endless, by splitmix64.
    pub fn from_seed(seed: u64) -> Self {
        Self::new(Source::Seed(seed))
    }

    /// A byte for each decision, two where there are more than 256 outcomes.
    ///
    /// The first two are a seed, by which it goes on when no more are left: so
    /// a fuzzer need only find out how a schedule should begin, in few bytes,
    /// and changes to the beginning leave alone how chance goes on.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let (seed, bytes) = bytes.split_at(bytes.len().min(2));
        let seed = seed
            .iter()
            .fold(0, |seed, &byte| seed << 8 | u64::from(byte));
        Self::new(Source::Bytes(bytes.into(), 0, seed))
    }

    /// Exactly these.
    pub fn from_list(list: &[u32]) -> Self {
        Self::new(Source::List(list.into()))
    }

    fn new(source: Source) -> Self {
        Self {
            source,
            taken: 0,
            record: None,
        }
    }

    /// The same, and keeps what is chosen from now on.
    pub fn recorded(mut self) -> Self {
        self.record = Some(Vec::new());
        self
    }

    /// What was chosen since [`Choices::recorded`].
    pub fn record(&self) -> &[u32] {
        self.record.as_deref().unwrap_or_default()
    }

    /// How many decisions were taken.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// One of 0 to `n - 1`.
    pub fn below(&mut self, n: u64) -> u64 {
        let choice = match &mut self.source {
            _ if n <= 1 => 0,
            Source::Seed(state) => splitmix(state) % n,
            Source::Bytes(bytes, at, state) if *at >= bytes.len() => splitmix(state) % n,
            Source::Bytes(bytes, at, _) => {
                let mut byte = || {
                    let byte = bytes.get(*at).copied().unwrap_or_default();
                    *at += 1;
                    u64::from(byte)
                };
                if n <= 256 {
                    byte() % n
                } else {
                    (byte() << 8 | byte()) % n
                }
            }
            Source::List(list) => u64::from(list.get(self.taken).copied().unwrap_or_default()) % n,
        };
        self.taken += 1;
        if let Some(record) = &mut self.record {
            record.push(choice as u32);
        }
        choice
    }

    /// One of `from` to `to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from) + 1)
    }

    /// True once in `n`, for an `n` above 1.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == n - 1
    }

    /// One of these, the first of which is the tamest.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::Choices;

    fn some(mut choices: Choices) -> Vec<u64> {
        (2..40).map(|n| choices.below(n * n)).collect()
    }

    #[test]
    fn a_record_replays_what_a_seed_made() {
        let mut seeded = Choices::from_seed(7).recorded();
        let made: Vec<u64> = (2..40).map(|n| seeded.below(n * n)).collect();
        assert_eq!(made, some(Choices::from_list(seeded.record())));
    }

    #[test]
    fn chance_takes_over_from_bytes() {
        let begun = some(Choices::from_bytes(&[1, 2, 3, 6]));
        let other = some(Choices::from_bytes(&[1, 2, 1, 2]));
        assert_eq!(begun[..2], [3, 6]);
        assert_eq!(other[..2], [1, 2]);
        assert_eq!(begun[2..], other[2..]);
        assert_ne!(begun[2..], some(Choices::from_bytes(&[1, 3, 3, 6]))[2..]);
    }

    #[test]
    fn what_is_missing_is_zero() {
        assert!(
            some(Choices::from_list(&[]))
                .iter()
                .all(|&choice| choice == 0)
        );
        assert!(!Choices::from_list(&[]).one_in(2));
    }
}
