//! Codecs against themselves, against other writers' frames, and against bombs.

use super::*;

const CAP: usize = 8 << 20;

fn texts() -> Vec<Vec<u8>> {
    let mixed: Vec<u8> = (0..400_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    let noise: Vec<u8> = (0..200_000u64)
        .map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31) >> 13) as u8)
        .collect();
    vec![Vec::new(), vec![7], b"kafka ".repeat(9), vec![0; 3_000_000], mixed, noise]
}

#[test]
fn what_is_packed_comes_out_again() {
    for codec in Codec::ALL {
        for text in texts() {
            let packed = compress(codec, text.clone()).unwrap();
            assert_eq!(decompress(codec, &packed, CAP).unwrap(), text, "{codec} {}", text.len());
            assert_eq!(decompress(codec, &packed, text.len()).unwrap(), text, "{codec}: the cap");
        }
    }
}

#[test]
fn a_bomb_ends_at_the_cap() {
    for codec in Codec::ALL {
        let packed = compress(codec, vec![0; 5_000_000]).unwrap();
        for max in [0, 1, 100_000, 4_999_999] {
            let bomb = Err(CodecError::TooLarge { codec, max });
            assert_eq!(decompress(codec, &packed, max), bomb, "{codec} {max}");
        }
    }
}

#[test]
fn what_is_cut_off_is_malformed() {
    for codec in &Codec::ALL[1..] {
        let packed = compress(*codec, b"some words ".repeat(30)).unwrap();
        for len in 0..packed.len() {
            // the frame of snappy-java has no end mark: its head alone is an empty stream
            let empty = *codec == Codec::Snappy && len == 16;
            let read = decompress(*codec, &packed[..len], CAP);
            assert_eq!(read.is_ok(), empty, "{codec} cut at {len}: {read:?}");
        }
    }
}

#[test]
fn attributes_name_codecs() {
    for codec in Codec::ALL {
        assert_eq!(Codec::of(Attributes(0x38 | i16::from(codec.number()))), Ok(codec));
    }
    assert_eq!(Codec::of(Attributes(5)), Err(CodecError::Unknown(5)));
    assert_eq!(Codec::of(Attributes(7)), Err(CodecError::Unknown(7)));
    assert_eq!(Codec::Lz4.to_string(), "lz4");
}

#[test]
fn raw_snappy_and_streams_in_a_row_are_read() {
    let raw = snap::raw::Encoder::new().compress_vec(b"raw raw raw raw").unwrap();
    assert_eq!(decompress(Codec::Snappy, &raw, CAP).unwrap(), b"raw raw raw raw");
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Zstd] {
        let one = compress(codec, b"one ".to_vec()).unwrap();
        let two = compress(codec, b"two".to_vec()).unwrap();
        let both = [one, two].concat();
        assert_eq!(decompress(codec, &both, CAP).unwrap(), b"one two", "{codec}");
    }
}

#[test]
fn a_snappy_length_that_lies_is_refused_before_it_is_believed() {
    let lie = [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0; 40]].concat();
    let read = decompress(Codec::Snappy, &lie, usize::MAX);
    assert!(matches!(read, Err(CodecError::Malformed { .. })), "{read:?}");
}

/// Spelled out by the frame's specification; one has a wrong header checksum, as Kafka's message
/// format 0 has.
#[test]
fn lz4_frames_with_everything_are_read() {
    let stored = b"\x05\0\0\x80hello";
    let head = |flags: u8, rest: &[u8]| [&b"\x04\x22\x4d\x18"[..], &[flags, 0x40], rest].concat();
    let end = [0; 4];
    let plain = [head(0x60, &[0x82]), stored.to_vec(), end.to_vec()].concat();
    let broken = [head(0x60, &[0x1a]), stored.to_vec(), end.to_vec()].concat();
    let sized = [head(0x68, &[5, 0, 0, 0, 0, 0, 0, 0, 9]), stored.to_vec(), end.to_vec()].concat();
    let sums = [head(0x74, &[9]), stored.to_vec(), vec![1; 4], end.to_vec(), vec![2; 4]].concat();
    for frame in [plain, broken, sized, sums] {
        assert_eq!(decompress(Codec::Lz4, &frame, CAP).unwrap(), b"hello", "{frame:02x?}");
    }
    // linked blocks: the second one is nothing but a copy out of the first
    let copy = b"\x09\0\0\0\x01\x05\0\x50world".to_vec();
    let linked = [head(0x40, &[0xc0]), stored.to_vec(), copy, end.to_vec()].concat();
    assert_eq!(decompress(Codec::Lz4, &linked, CAP).unwrap(), b"hellohelloworld");
    for flags in [0x00, 0x61, 0x80] {
        assert!(decompress(Codec::Lz4, &head(flags, &[0, 0, 0, 0, 0]), CAP).is_err());
    }
}

#[test]
fn what_comes_out_piece_by_piece_is_the_same() {
    for codec in Codec::ALL {
        for text in texts() {
            let packed = compress(codec, text.clone()).unwrap();
            let (mut out, mut longest) = (Vec::new(), 0);
            let mut to = |piece: &[u8]| {
                longest = longest.max(piece.len());
                out.extend_from_slice(piece);
            };
            decompress_to(codec, &packed, CAP, CAP, &mut to).unwrap();
            assert!(out == text, "{codec} {}", text.len());
            assert!(codec == Codec::None || longest <= STEP_BYTES, "{codec}: {longest}");
            if let Some(less) = text.len().checked_sub(1) {
                let bomb = Err(CodecError::TooLarge { codec, max: less });
                assert_eq!(decompress_to(codec, &packed, less, less, &mut |_| {}), bomb);
            }
        }
    }
}

/// What a writer does not know is named too large: a window, mostly.
#[test]
fn what_a_codec_wants_in_one_piece_is_bounded_by_itself() {
    let text = b"some words ".repeat(100_000);
    let raw = snap::raw::Encoder::new().compress_vec(&text).unwrap();
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(27).unwrap();
    std::io::Write::write_all(&mut encoder, &text).unwrap();
    let wide = encoder.finish().unwrap();
    for (codec, packed) in [(Codec::Snappy, raw), (Codec::Zstd, wide)] {
        let take = |held_max: usize| {
            let mut out = Vec::new();
            let mut to = |piece: &[u8]| out.extend_from_slice(piece);
            decompress_to(codec, &packed, CAP, held_max, &mut to).map(|()| out)
        };
        assert_eq!(take(text.len()), Ok(text.clone()), "{codec}");
        let max = text.len() - 1;
        assert_eq!(take(max), Err(CodecError::TooLarge { codec, max }), "{codec}");
        assert_eq!(decompress(codec, &packed, text.len()), Ok(text.clone()), "{codec}");
    }
}
