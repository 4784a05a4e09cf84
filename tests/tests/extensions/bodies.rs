//! Bodies that tell where each of their bytes comes from.

/// Bytes of a mark.
const MARK: usize = 16;

/// A text of `size` bytes: marks of the response's `id` and of their place in it.
pub fn marked(id: u8, size: usize) -> String {
    let mut text = Vec::with_capacity(size + MARK);
    let mut mark = *b"<..:0000000000>\n";
    mark[1..3].copy_from_slice(format!("{id:02x}").as_bytes());
    while text.len() < size {
        text.extend(mark);
        count_up(&mut mark[4..14]);
    }
    text.truncate(size);
    String::from_utf8(text).expect("marks are text")
}

/// The decimal number that follows.
fn count_up(digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        if *digit < b'9' {
            *digit += 1;
            return;
        }
        *digit = b'0';
    }
}

/// Where a body is not as it should be, in words that fit on a screen.
pub fn expect_same(body: &[u8], wanted: &[u8], name: &str) {
    if body == wanted {
        return;
    }
    let same = body.iter().zip(wanted).take_while(|(a, b)| a == b).count();
    let around = |bytes: &[u8]| {
        let end = bytes.len().min(same + 2 * MARK);
        String::from_utf8_lossy(&bytes[same.saturating_sub(MARK).min(end)..end]).into_owned()
    };
    panic!(
        "{name}: {} of {} bytes, the first {same} are right; {:?} instead of {:?}",
        body.len(),
        wanted.len(),
        around(body),
        around(wanted)
    );
}
