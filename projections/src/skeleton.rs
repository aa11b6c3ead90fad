//! Public API, bodies to follow.
#![expect(clippy::todo, missing_docs, unused_variables, reason = "skeleton")]
use std::sync::Arc;

use relive_log::{AppId, ExecutionId, LetterId, Lsn, Reader};

use crate::*;

#[derive(Debug)]
pub struct Views;
impl Views {
    pub fn open(options: ViewsOptions, source: Arc<dyn ValueSource>) -> Result<(Views, OpenedViews), ViewsError> { todo!() }
    pub fn in_memory(source: Arc<dyn ValueSource>) -> Views { todo!() }
    /// Folds the durable rest of the log.
    pub fn catch_up(&self, reader: &Reader, progress: &mut dyn FnMut(Lsn)) -> Result<Lsn, ViewsError> { todo!() }
    pub fn apply(&self, batch: &FoldedBatch<'_>) { todo!() }
    pub fn applied(&self) -> Lsn { todo!() }
    /// What the memory layer holds that is not on disk yet, bytes: admissions slow down by it.
    pub fn lag_bytes(&self) -> usize { todo!() }
    pub fn maintain(&self, durable: Lsn) -> Result<Maintained, ViewsError> { todo!() }
    pub fn close(&self, durable: Lsn) -> Result<(), ViewsError> { todo!() }
    pub fn digest(&self) -> Result<u128, ReadError> { todo!() }
    pub fn registry(&self) -> Arc<Registry> { todo!() }
    pub fn kv(&self) -> &KvView { todo!() }
    pub fn executions(&self) -> &Executions { todo!() }
    pub fn dead_letters(&self) -> &DeadLetters { todo!() }
}
#[derive(Debug)]
pub struct KvView;
impl KvView {
    pub fn get(&self, app: AppId, collection: &str, key: &str, at: Lsn) -> Result<KvSlot, ReadError> { todo!() }
    pub fn list(&self, app: AppId, collection: &str, range: &KvRange, at: Lsn) -> Result<KvPage, ReadError> { todo!() }
    pub fn history(&self, app: AppId, collection: &str, key: &str, at: Lsn, limit: usize) -> Result<Vec<KvVersion>, ReadError> { todo!() }
    pub fn collections(&self, app: AppId, at: Lsn) -> Result<Vec<(String, u64)>, ReadError> { todo!() }
    /// The newest write applied: LSN and whether the key is present.
    pub fn last_write(&self, app: AppId, collection: &str, key: &str) -> Result<Option<(Lsn, bool)>, ReadError> { todo!() }
    /// Whether anything in the range was written above `since`.
    pub fn range_written_since(&self, app: AppId, collection: &str, bounds: &KvBounds, since: Lsn) -> Result<bool, ReadError> { todo!() }
}
#[derive(Debug)]
pub struct Executions;
impl Executions {
    pub fn get(&self, app: AppId, execution: ExecutionId) -> Result<Option<ExecutionRow>, ReadError> { todo!() }
    pub fn list(&self, app: AppId, filter: &ExecutionFilter) -> Result<Vec<ExecutionRow>, ReadError> { todo!() }
    /// The outbox, by due time, then LSN.
    pub fn open(&self, app: Option<AppId>) -> Vec<ExecutionRow> { todo!() }
    pub fn open_row(&self, execution: ExecutionId) -> Option<ExecutionRow> { todo!() }
    /// Looks at an open row without copying it.
    pub fn with_open<T>(&self, execution: ExecutionId, look: impl FnOnce(&ExecutionRow) -> T) -> Option<T> { todo!() }
    pub fn open_count(&self) -> usize { todo!() }
    pub fn abandoned(&self, app: AppId, limit: usize, cursor: Option<ExecutionId>) -> Result<Vec<ExecutionRow>, ReadError> { todo!() }
}
#[derive(Debug)]
pub struct DeadLetters;
impl DeadLetters {
    pub fn get(&self, app: AppId, letter: LetterId) -> Option<LetterRow> { todo!() }
    pub fn list(&self, app: AppId, filter: &LetterFilter) -> Vec<LetterRow> { todo!() }
    pub fn open_count(&self, app: AppId) -> u64 { todo!() }
}
