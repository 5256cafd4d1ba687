//! Sees by its first bytes how a stream is compressed, whatever its media type says.

use std::io::{self, BufRead, BufReader, Read};

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const BZIP2_MAGIC: &[u8] = b"BZh";
const XZ_MAGIC: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];

/// The decompressed stream: gzip, zstd, or as it is.
pub fn decompress<'a>(source: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut source = BufReader::with_capacity(128 << 10, source);
    let start = source.fill_buf()?;
    if start.starts_with(GZIP_MAGIC) {
        Ok(Box::new(flate2::bufread::MultiGzDecoder::new(source)))
    } else if start.starts_with(ZSTD_MAGIC) {
        Ok(Box::new(zstd::stream::read::Decoder::with_buffer(source)?))
    } else if start.starts_with(BZIP2_MAGIC) || start.starts_with(XZ_MAGIC) {
        Err(io::Error::new(io::ErrorKind::Unsupported, "only gzip and zstd compression are supported"))
    } else {
        Ok(Box::new(source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn reads_each_kind() {
        let plain = b"some plain text".repeat(50);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        for packed in [plain.clone(), gzip.finish().unwrap(), zstd::encode_all(&plain[..], 1).unwrap()] {
            let mut unpacked = Vec::new();
            decompress(&packed[..]).unwrap().read_to_end(&mut unpacked).unwrap();
            assert_eq!(unpacked, plain);
        }
        assert!(decompress(&b"BZh91AY"[..]).is_err());
    }
}
