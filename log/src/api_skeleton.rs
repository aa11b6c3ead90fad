//! Public API, bodies to follow.
#![expect(clippy::todo, missing_docs, unused_variables, reason="skeleton")]
use std::path::Path;
use std::sync::Arc;
use crate::*;
use crate::disk::Disk;

#[derive(Debug)] pub struct OpenedLog { pub appender: Appender, pub reader: Reader, pub committer: Committer, pub preparer: Preparer, pub durability: Durability, pub report: RecoveryReport, pub log_id: [u8;16], pub timeline: u32 }
pub fn open(disk: Arc<dyn Disk>, dir: &Path, options: &LogOptions, identity: FreshIdentity, now: UnixMicros) -> Result<OpenedLog, OpenError> { todo!() }
#[derive(Debug)] pub struct Appender;
#[derive(Clone, Copy, Debug, PartialEq, Eq)] pub struct Appended { pub first: Lsn, pub last: Lsn, pub commit_time: UnixMicros, pub pos: FramePos }
impl Appender { pub fn next_lsn(&self)->Lsn{todo!()} pub fn append(&mut self, batch:&Batch, now: UnixMicros)->Result<Appended, AppendError>{todo!()} pub fn clamps(&self)->u64{todo!()} pub fn last_commit_time(&self)->UnixMicros{todo!()} }
#[derive(Clone, Copy, Debug, PartialEq, Eq)] pub enum StepOutcome { Idle, Wrote{bytes:u64}, Synced{durable:Lsn}, WaitingForSegment{segment:u32}, Closed, Poisoned }
#[derive(Debug)] pub struct Committer;
impl Committer { pub fn run(&mut self){todo!()} pub fn step(&mut self)->StepOutcome{todo!()} pub fn close(&mut self)->Result<(),Poisoned>{todo!()} }
#[derive(Clone, Copy, Debug, PartialEq, Eq)] pub enum PrepareOutcome { Idle, Prepared{segment:u32}, NoSpace, SyncedWatermark, Closed, Poisoned }
#[derive(Debug)] pub struct Preparer;
impl Preparer { pub fn run(&mut self){todo!()} pub fn step(&mut self)->PrepareOutcome{todo!()} }
#[derive(Clone, Debug)] pub struct Durability;
pub type DurableListener = Box<dyn Fn(Result<Lsn, Poisoned>) + Send + Sync>;
impl Durability { pub fn durable(&self)->Lsn{todo!()} pub fn wait(&self,lsn:Lsn)->Result<(),Poisoned>{todo!()} pub fn on_change(&self,l:DurableListener){todo!()} pub fn poisoned(&self)->Option<Poisoned>{todo!()} }
#[derive(Clone, Debug)] pub struct Reader;
#[derive(Clone, Debug)] pub struct Frame { pub first_lsn: Lsn, pub last_lsn: Lsn, pub commit_time: UnixMicros, pub pos: FramePos }
#[derive(Clone, Copy, Debug, PartialEq, Eq)] pub struct RawRecord<'a> { pub lsn: Lsn, pub type_: u16, pub type_version: u16, pub body: &'a [u8] }
impl Frame { pub fn records(&self)->impl Iterator<Item=RawRecord<'_>>{ std::iter::empty() } }
#[derive(Clone, Copy, Debug, PartialEq, Eq)] pub struct FrameInfo { pub first_lsn: Lsn, pub last_lsn: Lsn, pub commit_time: UnixMicros, pub pos: FramePos }
#[derive(Clone, Copy, Debug, PartialEq, Eq)] pub struct SegmentInfo { pub segment: u32, pub first_lsn: Lsn, pub used_bytes: u64 }
#[derive(Debug)] pub struct Scan;
impl Iterator for Scan { type Item = Result<Frame, ReadError>; fn next(&mut self)->Option<Self::Item>{todo!()} }
impl Reader { 
 pub fn read_frame(&self,pos:FramePos)->Result<Frame,ReadError>{todo!()}
 pub fn read_event(&self,pos:FramePos,lsn:Lsn)->Result<(events::Event,UnixMicros),ReadError>{todo!()}
 pub fn scan(&self,from:Lsn)->Result<Scan,ReadError>{todo!()}
 pub fn frame_of(&self,lsn:Lsn)->Result<FrameInfo,ReadError>{todo!()}
 pub fn frame_at_time(&self,t:UnixMicros)->Result<Option<FrameInfo>,ReadError>{todo!()}
 pub fn first_lsn(&self)->Lsn{todo!()} pub fn durable(&self)->Lsn{todo!()} pub fn bytes(&self)->u64{todo!()} pub fn segments(&self)->Vec<SegmentInfo>{todo!()} }
