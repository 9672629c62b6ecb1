//! CBOR heads in their shortest form, and nothing else: what we write is a handful of fixed shapes.

const UINT: u8 = 0 << 5;
const BYTES: u8 = 2 << 5;
const TEXT: u8 = 3 << 5;
const ARRAY: u8 = 4 << 5;
const MAP: u8 = 5 << 5;
const TAG: u8 = 6 << 5;

/// Appends CBOR items to a buffer. Infallible: there is no shape that it could not write.
#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn tag(mut self, tag: u64) -> Self {
        self.head(TAG, tag);
        self
    }

    pub(super) fn array(mut self, items: usize) -> Self {
        self.head(ARRAY, items as u64);
        self
    }

    pub(super) fn map(mut self, entries: usize) -> Self {
        self.head(MAP, entries as u64);
        self
    }

    pub(super) fn uint(mut self, value: u64) -> Self {
        self.head(UINT, value);
        self
    }

    /// Always five bytes, `1A xxxxxxxx`: how rats-tls writes a number, and the only width that it reads.
    pub(super) fn uint_of_32_bits(mut self, value: u32) -> Self {
        self.0.push(UINT | 26);
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.head(BYTES, bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    pub(super) fn text(mut self, text: &str) -> Self {
        self.head(TEXT, text.len() as u64);
        self.0.extend(text.as_bytes());
        self
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }

    fn head(&mut self, major: u8, value: u64) {
        let bytes = value.to_be_bytes();
        match value {
            0..=23 => self.0.push(major | bytes[7]),
            24..=0xff => self.0.extend([major | 24, bytes[7]]),
            0x100..=0xffff => {
                self.0.push(major | 25);
                self.0.extend(&bytes[6..]);
            }
            0x1_0000..=0xffff_ffff => {
                self.0.push(major | 26);
                self.0.extend(&bytes[4..]);
            }
            _ => {
                self.0.push(major | 27);
                self.0.extend(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_the_shortest() {
        // RFC 8949 appendix A.
        for (value, hex) in [
            (0, "00"),
            (23, "17"),
            (24, "1818"),
            (255, "18ff"),
            (1000, "1903e8"),
            (1_000_000, "1a000f4240"),
            (1_000_000_000_000, "1b000000e8d4a51000"),
            (u64::MAX, "1bffffffffffffffff"),
        ] {
            assert_eq!(hex::encode(Writer::default().uint(value).finish()), hex);
        }
        let item = Writer::default().tag(60000).array(2).bytes(b"\x01").map(1).text("a").uint_of_32_bits(4).finish();
        assert_eq!(hex::encode(item), "d9ea60824101a161611a00000004");
    }
}
