//! The form of a parquet footer and of its page headers, looked at before crate parquet reads them: it reserves as many
//! children as a schema element says, follows groups within groups as deep as they go, and counts through lists whose
//! elements take no bytes. Both are structs of thrift's compact protocol, described in
//! <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>; their fields are those of
//! <https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>.
//!
//! The crate goes by the number of a field and not by the type written beside it. So types are compared here, or it would
//! read something else than was looked at.
use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes, buf::Reader};
use parquet::errors::Result;
use parquet::file::reader::{ChunkReader, Length};

/// Structs, lists and maps within each other, at most: what the crate skips to, and far more than parquet has.
const MOST_DEPTH: u32 = 64;
/// Groups of columns within each other, at most.
const MOST_GROUPS: usize = 100;
/// What is read at first of a page header, in bytes: nearly always all of it. Then more, by this factor.
const FIRST_READ: usize = 1 << 10;
const NEXT_READ: usize = 16;

/// The system's error in these words: of such an error crate arrow keeps nothing else.
pub(crate) fn error_of_system(words: &str) -> Option<io::Error> {
    let (_, code) = words.rsplit_once("(os error ")?;
    let (code, _) = code.split_once(')')?;
    code.parse().ok().map(io::Error::from_raw_os_error)
}

/// What a field that the crate reads has to be. Of truths it looks at the type itself.
enum Kind {
    /// What the crate skips.
    Any,
    Byte,
    /// 16, 32 or 64 bits, all written alike.
    Int,
    Double,
    Binary,
    List(&'static Kind),
    Struct(Fields),
    /// A struct of which every field is a struct.
    Union(Fields),
    /// A struct that is one element of the schema, and in it the number of its children.
    Element(Fields),
    Children,
    /// A union that says how the file is encrypted.
    Encryption,
}

type Fields = &'static [(i16, Kind)];

mod fields {
    use super::{Fields, Kind, Kind::*};

    pub(super) const FILE: Kind = Struct(&[
        (1, Int),
        (2, List(&Element(ELEMENT))),
        (3, Int),
        (4, List(&Struct(ROW_GROUP))),
        (5, List(&KEY_VALUE)),
        (6, Binary),
        (7, List(&Union(&[]))),
        (8, Encryption),
    ]);
    const ELEMENT: Fields = &[
        (1, Int),
        (2, Int),
        (3, Int),
        (4, Binary),
        (5, Children),
        (6, Int),
        (7, Int),
        (8, Int),
        (9, Int),
        (10, Union(LOGICAL_TYPE)),
    ];
    const LOGICAL_TYPE: Fields = &[
        (5, Struct(&[(1, Int), (2, Int)])), // decimal
        (7, TIME),
        (8, TIME),                              // timestamp
        (10, Struct(&[(1, Byte)])),             // integer
        (16, Struct(&[(1, Byte)])),             // variant
        (17, Struct(&[(1, Binary)])),           // geometry
        (18, Struct(&[(1, Binary), (2, Int)])), // geography
    ];
    const TIME: Kind = Struct(&[(2, Union(&[]))]);
    const ROW_GROUP: Fields =
        &[(1, List(&Struct(CHUNK))), (2, Int), (3, Int), (4, List(&SORTING)), (5, Int), (7, Int)];
    const SORTING: Kind = Struct(&[(1, Int)]);
    const CHUNK: Fields =
        &[(1, Binary), (2, Int), (3, Struct(COLUMN)), (4, Int), (5, Int), (6, Int), (7, Int)];
    const COLUMN: Fields = &[
        (1, Int),
        (2, List(&Int)),
        (4, Int),
        (5, Int),
        (6, Int),
        (7, Int),
        (9, Int),
        (10, Int),
        (11, Int),
        (12, Struct(STATISTICS)),
        (13, List(&Struct(&[(1, Int), (2, Int), (3, Int)]))), // encodings of pages
        (14, Int),
        (15, Int),
        (16, Struct(&[(1, Int), (2, List(&Int)), (3, List(&Int))])), // sizes
        (17, Struct(&[(1, Struct(BOX)), (2, List(&Int))])),          // places on earth
    ];
    const STATISTICS: Fields =
        &[(1, Binary), (2, Binary), (3, Int), (4, Int), (5, Binary), (6, Binary), (9, Int)];
    const BOX: Fields = &[
        (1, Double),
        (2, Double),
        (3, Double),
        (4, Double),
        (5, Double),
        (6, Double),
        (7, Double),
        (8, Double),
    ];
    const KEY_VALUE: Kind = Struct(&[(1, Binary), (2, Binary)]);

    pub(super) const PAGE: Kind = Struct(&[
        (1, Int),
        (2, Int),
        (3, Int),
        (4, Int),
        (5, Struct(&[(1, Int), (2, Int), (3, Int), (4, Int)])),
        (6, Struct(&[])),                   // index page
        (7, Struct(&[(1, Int), (2, Int)])), // dictionary page
        (8, Struct(&[(1, Int), (2, Int), (3, Int), (4, Int), (5, Int), (6, Int)])),
    ]);
}

/// Types as the protocol writes them.
mod wire {
    pub(super) const STOP: u8 = 0;
    /// Two of them, for true and false: the value of a field is in its type, that of an element is a byte.
    pub(super) const TRUTH: u8 = 2;
    pub(super) const BYTE: u8 = 3;
    pub(super) const I16: u8 = 4;
    pub(super) const I64: u8 = 6;
    pub(super) const DOUBLE: u8 = 7;
    pub(super) const BINARY: u8 = 8;
    pub(super) const LIST: u8 = 9;
    pub(super) const SET: u8 = 10;
    pub(super) const MAP: u8 = 11;
    pub(super) const STRUCT: u8 = 12;
    pub(super) const UUID: u8 = 13;
}

impl Kind {
    fn fits(&self, written: u8) -> bool {
        match self {
            Kind::Any => true,
            Kind::Byte => written == wire::BYTE,
            Kind::Int | Kind::Children => (wire::I16..=wire::I64).contains(&written),
            Kind::Double => written == wire::DOUBLE,
            Kind::Binary => written == wire::BINARY,
            Kind::List(_) => matches!(written, wire::LIST | wire::SET),
            Kind::Struct(_) | Kind::Union(_) | Kind::Element(_) | Kind::Encryption => {
                written == wire::STRUCT
            }
        }
    }

    /// What a field of this struct has to be.
    fn field(&self, id: i16) -> &Kind {
        let (fields, other) = match self {
            Kind::Struct(fields) | Kind::Element(fields) => (*fields, &Kind::Any),
            Kind::Union(fields) => (*fields, &Kind::Struct(&[])),
            _ => (&[][..], &Kind::Any),
        };
        fields.iter().find(|field| field.0 == id).map_or(other, |field| &field.1)
    }
}

enum Wrong {
    /// It goes on behind the last byte.
    End,
    Form(String),
}

type Walked<T> = std::result::Result<T, Wrong>;

/// Goes once over the bytes of a struct. Every element of a list takes a byte, so the work is bounded by their number.
struct Walk<'a> {
    rest: &'a [u8],
    /// Of every schema element, as the crate understands it.
    children: Vec<i32>,
    encrypted: bool,
}

impl<'a> Walk<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Walk { rest: bytes, children: Vec::new(), encrypted: false }
    }

    fn skip(&mut self, bytes: u64) -> Walked<()> {
        let bytes = usize::try_from(bytes).map_err(|_| Wrong::End)?;
        self.rest = self.rest.get(bytes..).ok_or(Wrong::End)?;
        Ok(())
    }

    fn byte(&mut self) -> Walked<u8> {
        let (&byte, rest) = self.rest.split_first().ok_or(Wrong::End)?;
        self.rest = rest;
        Ok(byte)
    }

    fn unsigned(&mut self) -> Walked<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Wrong::Form("a number of more than 64 bits".into()))
    }

    fn signed(&mut self) -> Walked<i64> {
        let value = self.unsigned()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn value(&mut self, written: u8, kind: &Kind, depth: u32) -> Walked<()> {
        if !kind.fits(written) {
            return Err(Wrong::Form(format!(
                "a field of another type than parquet's (thrift's {written})"
            )));
        }
        let Some(depth) = depth.checked_sub(1) else {
            return Err(Wrong::Form(format!(
                "more than {MOST_DEPTH} structs and lists within each other"
            )));
        };
        match written {
            1 | wire::TRUTH => Ok(()),
            wire::BYTE => self.skip(1),
            wire::I16..=wire::I64 => {
                let value = self.signed()?;
                if let (Kind::Children, Some(last)) = (kind, self.children.last_mut()) {
                    *last = value as i32;
                }
                Ok(())
            }
            wire::DOUBLE => self.skip(8),
            wire::BINARY => {
                let bytes = self.unsigned()?;
                self.skip(bytes)
            }
            wire::LIST | wire::SET => self.list(kind, depth),
            wire::MAP => self.map(depth),
            wire::STRUCT => self.fields(kind, depth),
            wire::UUID => self.skip(16),
            _ => Err(Wrong::Form(format!("no type of thrift's: {written}"))),
        }
    }

    fn list(&mut self, kind: &Kind, depth: u32) -> Walked<()> {
        let header = self.byte()?;
        let count = match header >> 4 {
            15 => self.unsigned()?,
            count => u64::from(count),
        };
        let (written, of) = (header & 15, if let Kind::List(of) = kind { of } else { &Kind::Any });
        self.element_type(written, count)?;
        (0..count).try_for_each(|_| self.value(written, of, depth))
    }

    fn map(&mut self, depth: u32) -> Walked<()> {
        let count = self.unsigned()?;
        if count > 0 {
            let types = self.byte()?;
            for written in [types >> 4, types & 15] {
                self.element_type(written, count)?;
            }
            for _ in 0..count {
                self.value(types >> 4, &Kind::Any, depth)?;
                self.value(types & 15, &Kind::Any, depth)?;
            }
        }
        Ok(())
    }

    /// The crate passes over elements that are truths as if they took no bytes, any number of them. Parquet has none here.
    fn element_type(&self, written: u8, count: u64) -> Walked<()> {
        match written {
            wire::STOP..=wire::TRUTH if count > 0 => {
                Err(Wrong::Form(format!("a list of {count} truth values")))
            }
            _ => Ok(()),
        }
    }

    fn fields(&mut self, kind: &Kind, depth: u32) -> Walked<()> {
        match kind {
            Kind::Element(_) => self.children.push(0),
            Kind::Encryption => self.encrypted = true,
            _ => {}
        }
        let mut id = 0i16;
        loop {
            let header = self.byte()?;
            let written = header & 15;
            if written == wire::STOP {
                return Ok(());
            }
            id = match header >> 4 {
                0 => self.signed()? as i16,
                more => id
                    .checked_add(i16::from(more))
                    .ok_or_else(|| Wrong::Form("a field number beyond 16 bits".into()))?,
            };
            self.value(written, kind.field(id), depth)?;
        }
    }
}

/// Looks at a whole footer: whether the file is encrypted. An error says what is wrong with it.
pub(crate) fn check_footer(footer: &[u8]) -> std::result::Result<bool, String> {
    let mut walk = Walk::new(footer);
    walk.value(wire::STRUCT, &fields::FILE, MOST_DEPTH).map_err(|wrong| match wrong {
        Wrong::End => format!("it does not end within its {} bytes", footer.len()),
        Wrong::Form(found) => found,
    })?;
    check_schema(&walk.children)?;
    Ok(walk.encrypted)
}

/// `children` of every element of the schema, a tree written with each group before what it holds.
fn check_schema(children: &[i32]) -> std::result::Result<(), String> {
    // Children still to come, of each group that holds the element.
    let mut open: Vec<usize> = Vec::new();
    for (i, &n) in children.iter().enumerate() {
        while open.last() == Some(&0) {
            open.pop();
        }
        match open.last_mut() {
            Some(left) => *left -= 1,
            None if i == 0 => {}
            None => {
                return Err(format!(
                    "schema element {i} of {} belongs to no group",
                    children.len()
                ));
            }
        }
        let fits = usize::try_from(n).ok().filter(|&n| n < children.len() - i);
        let n = fits.ok_or_else(|| {
            format!("schema element {i} of {} says that it has {n} children", children.len())
        })?;
        if n > 0 {
            open.push(n);
        }
        if open.len() > MOST_GROUPS {
            return Err(format!("more than {MOST_GROUPS} groups of columns within each other"));
        }
    }
    Ok(())
}

/// The bytes of a page header at the start of `bytes`; None if it goes on behind them.
fn page_header(bytes: &[u8]) -> std::result::Result<Option<usize>, String> {
    let mut walk = Walk::new(bytes);
    match walk.value(wire::STRUCT, &fields::PAGE, MOST_DEPTH) {
        Ok(()) => Ok(Some(bytes.len() - walk.rest.len())),
        Err(Wrong::End) => Ok(None),
        Err(Wrong::Form(found)) => Err(found),
    }
}

/// A file of which the crate is to read one column chunk: page headers are looked at first.
pub(crate) struct Pages<R> {
    file: Arc<R>,
    /// Of the column chunk.
    end: u64,
}

impl<R> Pages<R> {
    /// `end`: the first byte behind the column chunk.
    pub(crate) fn new(file: R, end: u64) -> Self {
        Pages { file: Arc::new(file), end }
    }
}

impl<R: ChunkReader> Length for Pages<R> {
    fn len(&self) -> u64 {
        self.file.len()
    }
}

impl<R: ChunkReader> ChunkReader for Pages<R> {
    type T = PageHeader<R>;

    fn get_read(&self, start: u64) -> Result<PageHeader<R>> {
        Ok(PageHeader { file: self.file.clone(), start, end: self.end, header: None })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        self.file.get_bytes(start, length)
    }
}

/// One page header, and nothing behind it. It is looked for where it is read: the crate also asks for places and reads nothing.
pub(crate) struct PageHeader<R> {
    file: Arc<R>,
    start: u64,
    end: u64,
    header: Option<Reader<Bytes>>,
}

impl<R: ChunkReader> PageHeader<R> {
    fn find(&self) -> io::Result<Bytes> {
        let left = usize::try_from(self.end.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let mut length = FIRST_READ.min(left);
        loop {
            let bytes = self.file.get_bytes(self.start, length).map_err(io::Error::other)?;
            let wrong = |found: &str| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("page header at byte {}: {found}", self.start),
                )
            };
            match page_header(&bytes).map_err(|found| wrong(&found))? {
                Some(header) => return Ok(bytes.slice(..header)),
                None if length == left => return Err(wrong("it does not end within its column")),
                None => length = length.saturating_mul(NEXT_READ).min(left),
            }
        }
    }
}

impl<R: ChunkReader> Read for PageHeader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.header.is_none() {
            self.header = Some(self.find()?.reader());
        }
        self.header.as_mut().map_or(Ok(0), |header| header.read(into))
    }
}
