//! Writes a text into memory of a fixed size, without Rust's own formatting: Rust's
//! formatting can panic, and no panic may be reached.

#![forbid(unsafe_code)]

use core::slice::IterMut;

/// A text in memory of the caller's. What exceeds the memory is dropped.
pub(crate) struct Text<'m> {
    len: usize,
    room: IterMut<'m, u8>,
}

/// What a number counts.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    /// Whole things: bytes, responses, reads.
    One,
    /// Thousandths of a thing, as milliseconds are of seconds. The text shows whole
    /// things with three decimals.
    Thousandth,
}

impl<'m> Text<'m> {
    /// An empty text, which may become as long as `memory`.
    pub(crate) fn new(memory: &'m mut [u8]) -> Self {
        Text {
            len: 0,
            room: memory.iter_mut(),
        }
    }

    /// How many bytes of the memory are text.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Appends a string.
    pub(crate) fn add(&mut self, string: &str) -> &mut Self {
        self.bytes(string.as_bytes())
    }

    /// Appends the bytes of a string.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        bytes.iter().copied().fold(self, Self::byte)
    }

    /// Appends a number of whole things, in decimal digits.
    pub(crate) fn number(&mut self, number: u64) -> &mut Self {
        self.digits(number, 1)
    }

    /// Appends a number that counts things or thousandths, as `unit` says.
    pub(crate) fn value(&mut self, unit: Unit, number: u64) -> &mut Self {
        match unit {
            Unit::One => self.number(number),
            Unit::Thousandth => self.number(number / 1000).add(".").digits(number % 1000, 3),
        }
    }

    /// Appends the digits of a number, with zeros before them up to `width` digits.
    fn digits(&mut self, number: u64, width: u32) -> &mut Self {
        if number >= 10 || width > 1 {
            self.digits(number / 10, width.saturating_sub(1));
        }

        self.byte(b'0'.wrapping_add((number % 10) as u8))
    }

    /// Appends a size in bytes, as nginx's directives have sizes.
    pub(crate) fn size(&mut self, bytes: u64) -> &mut Self {
        match bytes % 1024 {
            0 if bytes > 0 => self.number(bytes / 1024).add("k"),
            _ => self.number(bytes),
        }
    }

    fn byte(&mut self, byte: u8) -> &mut Self {
        if let Some(place) = self.room.next() {
            *place = byte;
            self.len = self.len.wrapping_add(1);
        }

        self
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Text, Unit};

    /// What is written into memory of `size` bytes.
    pub(crate) fn written(size: usize, write: impl FnOnce(&mut Text<'_>)) -> String {
        let mut memory = vec![b'?'; size];
        let mut text = Text::new(&mut memory);
        write(&mut text);
        let len = text.len();
        memory.truncate(len);
        String::from_utf8(memory).unwrap()
    }

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 1, 9, 10, 11, 99, 100, 1_234_567_890, u64::MAX] {
            assert_eq!(
                written(64, |text| _ = text.number(number)),
                number.to_string()
            );
        }
    }

    #[test]
    fn thousandths_have_three_decimals() {
        let thousandths = |number| written(64, |text| _ = text.value(Unit::Thousandth, number));

        assert_eq!(thousandths(0), "0.000");
        assert_eq!(thousandths(7), "0.007");
        assert_eq!(thousandths(1000), "1.000");
        assert_eq!(thousandths(12_340), "12.340");
        assert_eq!(thousandths(u64::MAX), "18446744073709551.615");
    }

    #[test]
    fn sizes_are_those_of_directives() {
        let sizes =
            [0, 1000, 1024, 4096, 1 << 20].map(|size| written(64, |text| _ = text.size(size)));
        assert_eq!(sizes, ["0", "1000", "1k", "4k", "1024k"]);
    }

    #[test]
    fn parts_follow_each_other() {
        let text = written(64, |text| {
            _ = text.add("").add("a: ").value(Unit::One, 10).add(";")
        });

        assert_eq!(text, "a: 10;");
    }

    #[test]
    fn what_exceeds_the_memory_is_dropped() {
        let whole = "part 1234567.890 part";

        for size in 0..=whole.len() + 1 {
            let mut memory = vec![b'?'; size];
            let mut text = Text::new(&mut memory);
            text.add("part ")
                .value(Unit::Thousandth, 1_234_567_890)
                .add(" part");

            let len = text.len();
            assert_eq!(len, size.min(whole.len()));
            assert_eq!(memory.get(..len), whole.as_bytes().get(..len));
            assert!(memory.iter().skip(len).all(|byte| *byte == b'?'));
        }
    }
}
