//! `relive exec debug`: a recorded attempt, walked through forwards and backwards.
//!
//! Owns: [`Session`] (where the walk stands; shared with the editor's protocol, `dap`) and the terminal view. Never does:
//! keep more than one window of steps; every window is asked for again, from a server, a data directory or a capsule.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use relive_engine::replay::{Candidate, Recording, opened, steps};
use serde_json::{Map, Value, json};

use super::dap;
use super::local::{self, Local, Opened};
use super::remote::Remote;
use super::replay::{Which, error, text};
use crate::client::{Client, Failed};
use crate::clock::SystemClock;
use crate::http::replay::{StepsAsked, no_step};
use crate::http::{ApiError, replay_dto};
use crate::out;

/// Steps of one window.
const WINDOW: u64 = 200;

/// `relive exec debug`
#[derive(Args, Clone, Debug)]
pub(crate) struct Debug {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    local: Local,
    /// Walk through a capsule; the execution is the one in it
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    capsule: Option<PathBuf>,
    /// Speak the Debug Adapter Protocol on stdin and stdout, for an editor
    #[arg(long)]
    dap: bool,
    /// With --dap: where the scripts are, so that the editor shows its own files
    #[arg(long, value_name = "DIR", requires = "dap")]
    scripts: Option<PathBuf>,
}

/// Where steps come from.
enum From {
    Server { client: Box<Client>, path: String, base: Map<String, Value> },
    Recording(Arc<Recording>),
}

impl From {
    fn ask(&self, body: Map<String, Value>) -> Result<Value, Failed> {
        match self {
            From::Server { client, path, base } => {
                let mut whole = base.clone();
                whole.extend(body);
                client.post(path, &whole.into())
            }
            From::Recording(recording) => {
                let recording = Arc::clone(recording);
                let asked = local::scripted(move || -> Result<Value, ApiError> {
                    let asked: StepsAsked = serde_json::from_value(body.into())
                        .map_err(|e| ApiError::invalid("steps", e.to_string()))?;
                    let (wanted, with) = asked.wanted()?;
                    let stepped = steps(&recording, &wanted).map_err(no_step)?;
                    Ok(replay_dto::stepped(&recording, &stepped, with))
                })?;
                asked.map_err(|problem| Failed::new(problem.text()))
            }
        }
    }
}

/// A walk through one recorded attempt.
pub(crate) struct Session {
    from: From,
    window: BTreeMap<u64, Value>,
    /// The step that it stands at, from 1.
    pub(crate) at: u64,
    /// Steps of the run.
    pub(crate) total: u64,
    /// How the run ended, and who it was.
    pub(crate) head: Value,
    /// Each script that the run may pass, line by line.
    pub(crate) texts: BTreeMap<Script, Vec<String>>,
    /// Lines to stop at.
    pub(crate) breakpoints: BTreeSet<(Script, u32)>,
}

/// A script of the run: itself, or one that it imports, by name.
pub(crate) type Script = Option<String>;

/// The script that a step or a frame stands in.
pub(crate) fn script_of(place: &Value) -> Script {
    place.get("script").and_then(Value::as_str).map(str::to_owned)
}

fn as_breakpoint((script, line): &(Script, u32)) -> Value {
    json!({"script": script, "line": line})
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// On.
    Forward,
    /// Back.
    Backward,
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or(0)
}

impl Session {
    fn start(from: From) -> Result<Session, Failed> {
        let first = from.ask(Map::from_iter([
            ("from".to_owned(), 1.into()),
            ("limit".to_owned(), WINDOW.into()),
            ("include_source".to_owned(), true.into()),
        ]))?;
        let lines = |text: &Value| text.as_str().unwrap_or_default().lines().map(str::to_owned).collect();
        let imported = first.get("imported").and_then(Value::as_object).into_iter().flatten();
        let mut texts: BTreeMap<Script, Vec<String>> =
            imported.map(|(name, text)| (Some(name.clone()), lines(text))).collect();
        texts.insert(None, first.get("source").map(lines).unwrap_or_default());
        let mut session = Session {
            from,
            window: BTreeMap::new(),
            at: 1,
            total: number(&first, "total"),
            texts,
            head: Value::Null,
            breakpoints: BTreeSet::new(),
        };
        session.keep(&first);
        session.head = first;
        if let Some(fields) = session.head.as_object_mut() {
            fields.retain(|name, _| {
                !matches!(name.as_str(), "items" | "source" | "imported" | "cursor" | "next")
            });
        }
        Ok(session)
    }

    fn keep(&mut self, page: &Value) {
        self.window.clear();
        for step in page.get("items").and_then(Value::as_array).into_iter().flatten() {
            self.window.insert(number(step, "step"), step.clone());
        }
    }

    /// How the run ended, if it failed.
    pub(crate) fn error(&self) -> Option<&Value> {
        self.head.get("error").filter(|error| !error.is_null())
    }

    /// The step of this number.
    pub(crate) fn step(&mut self, number: u64) -> Result<Value, Failed> {
        if !self.window.contains_key(&number) {
            let from = number.saturating_sub(WINDOW / 2).max(1);
            let mut page = self.page(from)?;
            if !page_has(&page, number) {
                // Large steps make short windows.
                page = self.page(number)?;
            }
            self.keep(&page);
        }
        self.window.get(&number).cloned().ok_or_else(|| Failed::new(format!("there is no step {number}")))
    }

    fn page(&self, from: u64) -> Result<Value, Failed> {
        self.from.ask(Map::from_iter([("from".to_owned(), from.into()), ("limit".to_owned(), WINDOW.into())]))
    }

    /// The step that it stands at.
    pub(crate) fn now(&mut self) -> Result<Value, Failed> {
        self.step(self.at)
    }

    /// Whether nothing comes after this step.
    pub(crate) const fn at_the_end(&self) -> bool {
        self.at >= self.total
    }

    /// Goes to a step; out of range is refused.
    pub(crate) fn go(&mut self, step: u64) -> Result<(), Failed> {
        if !(1..=self.total).contains(&step) {
            return Err(Failed::usage(format!("there is no step {step}; the run has {} steps", self.total)));
        }
        self.at = step;
        Ok(())
    }

    /// Goes so many steps, at most to an end; whether it moved.
    pub(crate) fn walk(&mut self, way: Way, steps: u64) -> bool {
        let before = self.at;
        self.at = match way {
            Way::Forward => self.at.saturating_add(steps).min(self.total),
            Way::Backward => self.at.saturating_sub(steps).max(1),
        };
        self.at != before
    }

    /// Goes to the next step that is called from no deeper than `depth`; whether there is one.
    pub(crate) fn walk_to_depth(&mut self, way: Way, depth: u64) -> Result<bool, Failed> {
        let before = self.at;
        while self.walk(way, 1) {
            if number(&self.now()?, "depth") <= depth {
                return Ok(true);
            }
        }
        self.at = before;
        Ok(false)
    }

    /// Goes to the next step on a breakpoint; without one, to the end (the start): whether it met one.
    pub(crate) fn run(&mut self, way: Way) -> Result<bool, Failed> {
        let (from, direction, end) = match way {
            Way::Forward => (self.at + 1, "forward", self.total),
            Way::Backward => (self.at, "backward", 1),
        };
        if self.breakpoints.is_empty() || (way == Way::Forward && self.at_the_end()) {
            self.at = end;
            return Ok(false);
        }
        let page = self.from.ask(Map::from_iter([
            ("from".to_owned(), from.into()),
            ("limit".to_owned(), 1.into()),
            ("direction".to_owned(), direction.into()),
            ("breakpoints".to_owned(), self.breakpoints.iter().map(as_breakpoint).collect()),
        ]))?;
        let hit = page.pointer("/items/0/step").and_then(Value::as_u64);
        self.at = hit.unwrap_or(end);
        Ok(hit.is_some())
    }

    /// Stops at a line from now on. A line without code is refused, naming the next one that has.
    pub(crate) fn break_at(&mut self, script: Script, line: u32) -> Result<(), Failed> {
        let at = (script, line);
        self.from.ask(Map::from_iter([
            ("from".to_owned(), 1.into()),
            ("limit".to_owned(), 1.into()),
            ("breakpoints".to_owned(), json!([as_breakpoint(&at)])),
        ]))?;
        self.breakpoints.insert(at);
        Ok(())
    }
}

fn page_has(page: &Value, step: u64) -> bool {
    let mut items = page.get("items").and_then(Value::as_array).into_iter().flatten();
    items.any(|item| number(item, "step") == step)
}

/// Runs it.
pub(crate) fn run(remote: &Remote, command: &Debug) -> Result<(), Failed> {
    let session = source(remote, command).and_then(Session::start);
    if command.dap { dap::serve(session, command.scripts.as_deref()) } else { talk(session?) }
}

/// Where the steps of the attempt come from.
fn source(remote: &Remote, command: &Debug) -> Result<From, Failed> {
    Ok(if let Some(file) = &command.capsule {
        let unreadable = |e: &dyn std::fmt::Display| Failed::new(format!("{}: {e}", file.display()));
        let bytes = std::fs::read(file).map_err(|e| unreadable(&e))?;
        let candidate = command.which.candidate()?;
        let recording = opened(&bytes, &candidate, Arc::new(SystemClock));
        From::Recording(Arc::new(recording.map_err(|e| unreadable(&e))?))
    } else if let Some(data) = &command.local.data {
        let opened = Opened::open(data)?;
        let which = &command.which;
        let candidate: Candidate = which.candidate()?;
        let recording =
            opened.recording(remote.app().ok().as_deref(), &which.id, which.attempt, &candidate)?;
        From::Recording(Arc::new(recording))
    } else {
        let path = command.which.path(remote, "steps")?;
        From::Server { client: Box::new(remote.client()?), path, base: command.which.body()? }
    })
}

const HELP: &str = "\
s, step [N]              on by N statements          b, back [N]      back by N statements
n, next                  on, over calls              c, continue      on to a breakpoint, or to the end
rc, reverse-continue     back to a breakpoint        g, goto STEP     to a step
br, break [SCRIPT:]LINE  stop at a line              d, delete LINE   do not
v, vars [NAME]           variables in scope          bt, stack        who called whom
kv                       reads and writes so far     l, list          the lines around
i, info                  which attempt, how it ended q, quit";

/// The terminal view; on a pipe without a prompt.
fn talk(mut session: Session) -> Result<(), Failed> {
    let terminal = std::io::stdin().is_terminal();
    if session.error().is_some() {
        // What failed is what one came for.
        session.at = session.total;
    }
    out::say(&info(&session));
    show(&mut session)?;
    let mut last = String::new();
    for line in Input::new(terminal) {
        let line = line.trim().to_owned();
        let command = if line.is_empty() { last.clone() } else { line };
        if matches!(command.as_str(), "q" | "quit" | "exit") {
            break;
        }
        match obey(&mut session, &command) {
            Ok(()) => {}
            Err(failed) => out::say(&failed.message),
        }
        last = command;
    }
    Ok(())
}

/// Lines of stdin, with a prompt on a terminal.
struct Input {
    prompt: bool,
}

impl Input {
    const fn new(prompt: bool) -> Input {
        Input { prompt }
    }
}

impl Iterator for Input {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if self.prompt {
            let mut stdout = std::io::stdout().lock();
            // A prompt that nobody sees is no loss.
            let _written = stdout.write_all(b"(relive) ").and_then(|()| stdout.flush());
        }
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line).unwrap_or(0);
        (read > 0).then_some(line)
    }
}

fn obey(session: &mut Session, command: &str) -> Result<(), Failed> {
    let mut words = command.split_whitespace();
    let (word, rest) = (words.next().unwrap_or_default(), words.next());
    let count = |rest: Option<&str>| -> Result<u64, Failed> {
        rest.map_or(Ok(1), |text| text.parse().map_err(|_| Failed::usage(format!("`{text}` is no number"))))
    };
    match word {
        "" => return Ok(()),
        "s" | "step" => moved(session.walk(Way::Forward, count(rest)?), "the run ends here"),
        "b" | "back" => moved(session.walk(Way::Backward, count(rest)?), "the run begins here"),
        "n" | "next" => {
            let depth = number(&session.now()?, "depth");
            moved(session.walk_to_depth(Way::Forward, depth)?, "the run ends in this call");
        }
        "c" | "continue" => moved(session.run(Way::Forward)?, "no breakpoint was met: the end"),
        "rc" | "reverse-continue" => moved(session.run(Way::Backward)?, "no breakpoint was met: the start"),
        "g" | "goto" => session.go(count(rest)?)?,
        "br" | "break" => {
            let (script, line) = line_of(rest)?;
            let of = script.as_ref().map_or_else(String::new, |name| format!(" of {name}"));
            session.break_at(script, line)?;
            out::say(&format!("stops at line {line}{of}"));
            return Ok(());
        }
        "d" | "delete" => {
            let there = session.breakpoints.remove(&line_of(rest)?);
            out::say(if there { "removed" } else { "there was none" });
            return Ok(());
        }
        "v" | "vars" => return vars(session, rest),
        "bt" | "stack" => return stack(session),
        "kv" => return kv(session),
        "l" | "list" => {
            let step = session.now()?;
            out::say(&around(session, &script_of(&step), number(&step, "line"), 5));
            return Ok(());
        }
        "i" | "info" => {
            out::say(&info(session));
            return Ok(());
        }
        "h" | "help" | "?" => {
            out::say(HELP);
            return Ok(());
        }
        other => return Err(Failed::usage(format!("`{other}` is no command; help lists them"))),
    }
    show(session)
}

/// `LINE` of the script itself, or `SCRIPT:LINE` of one that it imports.
fn line_of(word: Option<&str>) -> Result<(Script, u32), Failed> {
    let text = word.ok_or_else(|| Failed::usage("which line? LINE, or SCRIPT:LINE of an imported script"))?;
    let (script, line) = match text.rsplit_once(':') {
        Some((script, line)) => (Some(script.to_owned()), line),
        None => (None, text),
    };
    let line = line.parse().map_err(|_| Failed::usage(format!("`{text}` is no line")))?;
    Ok((script, line))
}

fn moved(moved: bool, otherwise: &str) {
    if !moved {
        out::say(otherwise);
    }
}

fn info(session: &Session) -> String {
    let head = &session.head;
    let faithful = match head.get("faithful") {
        Some(Value::Bool(true)) => "as recorded",
        Some(Value::Bool(false)) => "not as recorded",
        _ => "nothing was recorded to compare with",
    };
    let end = session.error().map_or_else(
        || format!("returns {}", text(head.get("result"))),
        |found| format!("fails with {}", error(found)),
    );
    format!(
        "{} attempt {} ({faithful}): {} steps, {end}",
        text(head.get("script")),
        text(head.get("attempt")),
        session.total
    )
}

fn show(session: &mut Session) -> Result<(), Failed> {
    let step = session.now()?;
    let line = number(&step, "line");
    let script = script_of(&step);
    let place = script.as_ref().map_or_else(String::new, |script| format!("{script} "));
    let lines = session.texts.get(&script).map(Vec::as_slice).unwrap_or_default();
    let code = usize::try_from(line).ok().and_then(|line| lines.get(line.checked_sub(1)?));
    let code = code.map(String::as_str).unwrap_or_default();
    out::say(&format!("step {} of {}, {place}line {line}: {}", session.at, session.total, code.trim()));
    if session.at_the_end()
        && let Some(found) = session.error()
    {
        out::say(&format!("  {}", error(found)));
    }
    Ok(())
}

fn around(session: &Session, script: &Script, line: u64, lines: u64) -> String {
    let all = session.texts.get(script).map(Vec::as_slice).unwrap_or_default();
    let shown = all.iter().zip(1_u64..).filter(|(_, at)| at.abs_diff(line) <= lines);
    let row = |(code, at): (&String, u64)| {
        let mark = if at == line { ">" } else { " " };
        let place = u32::try_from(at).ok().map(|at| (script.clone(), at));
        let stop = if place.is_some_and(|place| session.breakpoints.contains(&place)) { "*" } else { " " };
        format!("{mark}{stop}{at:>5}  {code}")
    };
    shown.map(row).collect::<Vec<_>>().join("\n")
}

fn vars(session: &mut Session, name: Option<&str>) -> Result<(), Failed> {
    let step = session.now()?;
    let all = step.get("variables").and_then(Value::as_object).cloned().unwrap_or_default();
    if let Some(name) = name {
        let value = all.get(name).ok_or_else(|| Failed::new(format!("no variable `{name}` is in scope")))?;
        out::say(&serde_json::to_string_pretty(value).unwrap_or_default());
        return Ok(());
    }
    if all.is_empty() {
        out::say("(no variables)");
    }
    for (name, value) in &all {
        out::say(&format!("{name} = {value}"));
    }
    Ok(())
}

fn stack(session: &mut Session) -> Result<(), Failed> {
    let step = session.now()?;
    for frame in step.get("stack").and_then(Value::as_array).into_iter().flatten() {
        let name = frame.get("function").and_then(Value::as_str).unwrap_or("(script)");
        let of = script_of(frame).map_or_else(String::new, |script| format!(" of {script}"));
        out::say(&format!("{name} at line {}{of}", text(frame.get("line"))));
    }
    Ok(())
}

fn kv(session: &mut Session) -> Result<(), Failed> {
    let step = session.now()?;
    let items = |name: &str| step.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    for read in items("reads") {
        let what =
            read.get("key").map_or_else(|| format!("{}*", text(read.get("prefix"))), |key| text(Some(key)));
        let version = read.get("version").map_or_else(String::new, |version| format!(" @{version}"));
        out::say(&format!("read   {}/{what}{version}", text(read.get("collection"))));
    }
    for write in items("writes") {
        let value = write
            .get("value")
            .filter(|value| !value.is_null())
            .map_or("(deleted)".to_owned(), |v| text(Some(v)));
        let line = text(write.get("line"));
        out::say(&format!(
            "write  {}/{} = {value} (line {line})",
            text(write.get("collection")),
            text(write.get("key"))
        ));
    }
    out::say(&format!("{} reads, {} writes", text(step.get("reads_total")), text(step.get("writes_total"))));
    Ok(())
}
