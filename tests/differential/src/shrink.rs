//! Makes a failing schedule small.

/// How many schedules a search may run.
const TRIES: usize = 20_000;

/// A shorter list with smaller numbers on which `fails` still holds.
pub fn shrink(list: Vec<u32>, mut fails: impl FnMut(&[u32]) -> bool) -> Vec<u32> {
    let mut search = Search {
        best: list,
        tries: 0,
        fails: &mut fails,
    };
    loop {
        let before = search.best.clone();
        search.cut_off();
        search.cut_out();
        search.lower();
        if search.best == before || search.tries >= TRIES {
            return search.best;
        }
    }
}

struct Search<'a> {
    best: Vec<u32>,
    tries: usize,
    fails: &'a mut dyn FnMut(&[u32]) -> bool,
}

impl Search<'_> {
    fn keeps_failing(&mut self, list: Vec<u32>) -> bool {
        self.tries += 1;
        let fails = self.tries < TRIES && (self.fails)(&list);
        if fails {
            self.best = list;
        }
        fails
    }

    /// Leaves out the end, as much as possible.
    fn cut_off(&mut self) {
        let mut size = self.best.len() / 2;
        while size > 0 {
            let rest = self.best.len().saturating_sub(size);
            let shorter = self.best.get(..rest).unwrap_or_default().to_vec();
            if !self.keeps_failing(shorter) {
                size /= 2;
            }
        }
    }

    /// Leaves out pieces of the middle.
    fn cut_out(&mut self) {
        for size in [16, 8, 4, 2, 1] {
            let mut at = self.best.len();
            while at >= size {
                at -= size;
                let mut without = self.best.clone();
                without.drain(at..at + size);
                self.keeps_failing(without);
                at = at.min(self.best.len());
            }
        }
    }

    /// Makes the numbers smaller.
    fn lower(&mut self) {
        for at in 0..self.best.len() {
            for lower in [0, self.best[at] / 2, self.best[at].saturating_sub(1)] {
                if lower < self.best[at] {
                    let mut lowered = self.best.clone();
                    lowered[at] = lower;
                    self.keeps_failing(lowered);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::shrink;

    #[test]
    fn finds_the_smallest_list_that_fails() {
        let list: Vec<u32> = (0..200).map(|n| n * 7 % 61).collect();
        let fails = |list: &[u32]| list.iter().filter(|&&number| number > 40).count() >= 2;
        assert!(fails(&list));
        assert_eq!(shrink(list, fails), [41, 41]);
    }
}
