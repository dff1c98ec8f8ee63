//! Packs a records section piece by piece, as Kafka's own clients pack it.
//!
//! It never holds more than a block of what it is given, besides what has come of it.

use std::mem;

use flate2::Compress;
use flate2::FlushCompress;
use zstd::stream::raw::Encoder;

use super::Codec;
use super::CodecError;
use super::STEP_BYTES;
use super::gzip;
use super::lz4;
use super::snappy;
use super::zstandard;

/// A section that is being packed.
pub struct Packer {
    kind: Kind,
    /// What is packed next.
    block: Vec<u8>,
    out: Vec<u8>,
}

enum Kind {
    None,
    Gzip(Compress),
    Snappy,
    Lz4,
    Zstd(Encoder<'static>),
}

impl Packer {
    /// Nothing yet, at the codec's usual level.
    pub fn new(codec: Codec) -> Result<Packer, CodecError> {
        let mut out = Vec::new();
        let kind = match codec {
            Codec::None => Kind::None,
            Codec::Gzip => Kind::Gzip(gzip::packer()),
            Codec::Snappy => {
                snappy::begin(&mut out);
                Kind::Snappy
            }
            Codec::Lz4 => {
                lz4::begin(&mut out);
                Kind::Lz4
            }
            Codec::Zstd => Kind::Zstd(zstandard::packer()?),
        };
        Ok(Packer { kind, block: Vec::new(), out })
    }

    /// Takes more in.
    pub fn write(&mut self, mut plain: &[u8]) -> Result<(), CodecError> {
        if matches!(self.kind, Kind::None) {
            self.out.extend_from_slice(plain);
            return Ok(());
        }
        let block_bytes = match self.kind {
            Kind::Snappy => snappy::BLOCK_BYTES,
            Kind::Lz4 => lz4::BLOCK_BYTES,
            Kind::None | Kind::Gzip(_) | Kind::Zstd(_) => STEP_BYTES,
        };
        while !plain.is_empty() {
            let (now, later) = plain.split_at(plain.len().min(block_bytes - self.block.len()));
            self.block.extend_from_slice(now);
            plain = later;
            if self.block.len() == block_bytes {
                self.pack_block()?;
            }
        }
        Ok(())
    }

    /// All that was packed.
    pub fn finish(mut self) -> Result<Vec<u8>, CodecError> {
        if !self.block.is_empty() {
            self.pack_block()?;
        }
        match self.kind {
            Kind::None | Kind::Snappy => {}
            Kind::Gzip(mut stream) => {
                gzip::pack(&mut stream, &[], &mut self.out, FlushCompress::Finish)?;
            }
            Kind::Lz4 => lz4::end(&mut self.out),
            Kind::Zstd(mut encoder) => zstandard::finish(&mut encoder, &mut self.out)?,
        }
        self.out.shrink_to_fit();
        Ok(self.out)
    }

    fn pack_block(&mut self) -> Result<(), CodecError> {
        let block = mem::take(&mut self.block);
        match &mut self.kind {
            Kind::None => self.out.extend_from_slice(&block),
            Kind::Gzip(stream) => gzip::pack(stream, &block, &mut self.out, FlushCompress::None)?,
            Kind::Snappy => snappy::pack(&block, &mut self.out)?,
            Kind::Lz4 => lz4::pack(&block, &mut self.out)?,
            Kind::Zstd(encoder) => zstandard::pack(encoder, &block, &mut self.out)?,
        }
        self.block = block;
        self.block.clear();
        Ok(())
    }
}
