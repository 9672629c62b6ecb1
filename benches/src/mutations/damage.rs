//! Damage of every kind, from a seed.

/// splitmix64: the same seed, the same damage, on every machine.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `limit`; 0 if that is 0.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % (limit.max(1) as u64)).unwrap_or(0)
    }

    fn range(&mut self, len: usize) -> std::ops::Range<usize> {
        let (a, b) = (self.below(len + 1), self.below(len + 1));
        a.min(b)..a.max(b)
    }
}

/// One to three changes, and what they were.
pub(super) fn damage(bytes: &[u8], other: &[u8], random: &mut Random) -> (Vec<u8>, String) {
    let mut bytes = bytes.to_vec();
    let changes = 1 + random.below(3);
    let how: Vec<_> = (0..changes).map(|_| change(&mut bytes, other, random)).collect();
    (bytes, how.join(", "))
}

fn change(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) -> String {
    let len = bytes.len();
    match random.below(8) {
        0 | 1 => {
            let at = random.below(len);
            let bit = 1 << random.below(8);
            bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= bit);
            format!("bit {bit:#04x} of byte {at}")
        }
        2 => {
            let to = random.below(len);
            bytes.truncate(to);
            format!("cut at {to}")
        }
        3 => {
            let range = random.range(len.min(64));
            let at = random.below(len);
            let (from, to) = ((at + range.start).min(len), (at + range.end).min(len));
            bytes.drain(from..to);
            format!("without {from}..{to}")
        }
        4 => {
            let range = random.range(len);
            let repeated = bytes[range.clone()].to_vec();
            let at = range.end;
            bytes.splice(at..at, repeated);
            format!("{range:?} twice")
        }
        5 => {
            // Wherever a length may stand, in any width and order.
            let width = [1, 2, 4][random.below(3)];
            let at = random.below(len.saturating_sub(width));
            let near = u32::try_from(len).unwrap_or(u32::MAX).wrapping_add_signed(random.below(9) as i32 - 4);
            let value = [0, 1, 0x7f, 0x80, 0xff, 0xffff, u32::MAX, near, random.next() as u32][random.below(9)];
            let value = if random.below(2) == 0 {
                value.to_le_bytes()
            } else {
                value.rotate_left(8 * (4 - width as u32)).to_be_bytes()
            };
            for (to, from) in bytes.iter_mut().skip(at).zip(&value[..width]) {
                *to = *from;
            }
            format!("a length of {width} bytes at {at}")
        }
        6 => {
            let (from, at) = (random.range(other.len().min(4096)), random.below(len));
            let end = (at + from.len()).min(bytes.len());
            bytes.splice(at..end, other[from.clone()].iter().copied());
            format!("{from:?} of another at {at}")
        }
        _ => {
            let (count, at) = (1 + random.below(64), random.below(len + 1));
            let byte = [0, 0xff, b' ', b'\n', random.next() as u8][random.below(5)];
            bytes.splice(at..at, std::iter::repeat_n(byte, count));
            format!("{count} times {byte:#04x} at {at}")
        }
    }
}
