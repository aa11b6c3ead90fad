//! The Debug Adapter Protocol on stdin and stdout, so that an editor walks through a recorded attempt.
//!
//! Owns: the framing, requests and events of the protocol, as far as a recorded run has them: one thread, the script
//! and what it imports, stepping and running both ways, breakpoints by line, the stack, variables. Never does: evaluate anything; an
//! expression is the name of a variable.

use std::io::{BufRead, Write as _};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::debug::{Script, Session, Way, script_of};
use super::replay::{error, text};
use crate::client::Failed;

/// The one thread.
const THREAD: u64 = 1;
/// The script itself, where the editor has no file of it; those that it imports come after it, by name.
const SOURCE: u64 = 1;
/// Longest message, bytes.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// References to variables: below this the scopes, above it what they contain.
const FIRST_NESTED: u64 = 10;

const LOCALS: u64 = 1;
const READS: u64 = 2;
const WRITES: u64 = 3;
const OUTCOME: u64 = 4;

/// What the editor is told, in order.
struct Wire {
    seq: u64,
    out: std::io::StdoutLock<'static>,
}

/// One adapter: a session and what the editor was told of it.
struct Adapter<'a> {
    session: Session,
    scripts: Option<&'a Path>,
    /// Values with parts, by reference; made anew at each stop.
    nested: Vec<Value>,
}

/// Serves one editor until it disconnects. What keeps the attempt from being walked through is told it as the answer to
/// its `launch`, which editors show; the process ends with it, too.
pub(super) fn serve(session: Result<Session, Failed>, scripts: Option<&Path>) -> Result<(), Failed> {
    let wire = Wire { seq: 0, out: std::io::stdout().lock() };
    match session {
        Ok(session) => {
            let mut adapter = Adapter { session, scripts, nested: Vec::new() };
            talk(wire, |command, arguments| adapter.answer(command, arguments))
        }
        Err(failed) => {
            talk(wire, |command, _| refuse(command, &failed.message))?;
            Err(failed)
        }
    }
}

/// Answers of an adapter that has nothing to walk through.
fn refuse(command: &str, why: &str) -> Answered {
    match command {
        "initialize" => Ok((capabilities(), Vec::new())),
        "disconnect" | "terminate" => Ok((json!({}), vec![event("terminated", json!({}))])),
        _ => Err(Failed::new(why)),
    }
}

fn capabilities() -> Value {
    json!({
        "supportsConfigurationDoneRequest": true,
        "supportsStepBack": true,
        "supportsTerminateRequest": true,
        "supportsEvaluateForHovers": true,
    })
}

/// Reads requests and sends what is answered, until the editor goes.
fn talk(mut wire: Wire, mut answer: impl FnMut(&str, &Value) -> Answered) -> Result<(), Failed> {
    let mut input = std::io::stdin().lock();
    while let Some(message) = read(&mut input)? {
        if message.get("type") != Some(&json!("request")) {
            continue;
        }
        let command = message.get("command").and_then(Value::as_str).unwrap_or_default().to_owned();
        let arguments = message.get("arguments").cloned().unwrap_or_default();
        let asked = message.get("seq").and_then(Value::as_u64).unwrap_or(0);
        let answered = answer(&command, &arguments);
        let (body, then) = match answered {
            Ok(answered) => answered,
            Err(failed) => {
                let response = json!({
                    "type": "response", "request_seq": asked, "command": command, "success": false,
                    "message": failed.message,
                });
                wire.send(response)?;
                continue;
            }
        };
        wire.send(json!({
            "type": "response", "request_seq": asked, "command": command, "success": true, "body": body,
        }))?;
        for event in then {
            wire.send(event)?;
        }
        if matches!(command.as_str(), "disconnect" | "terminate") {
            break;
        }
    }
    Ok(())
}

/// One message; `None` at the end of the input.
fn read(input: &mut impl BufRead) -> Result<Option<Value>, Failed> {
    let broken = |e: std::io::Error| Failed::new(format!("stdin cannot be read: {e}"));
    let mut length = None;
    loop {
        let mut line = String::new();
        if input.read_line(&mut line).map_err(broken)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse::<usize>().ok();
        }
    }
    let length = length.filter(|length| *length <= MESSAGE_BYTES_MAX);
    let length = length.ok_or_else(|| Failed::new("a message has no Content-Length, or one over 16 MiB"))?;
    let mut body = vec![0; length];
    input.read_exact(&mut body).map_err(broken)?;
    serde_json::from_slice(&body).map(Some).map_err(|e| Failed::new(format!("a message is not JSON: {e}")))
}

type Answered = Result<(Value, Vec<Value>), Failed>;

impl Wire {
    fn send(&mut self, mut message: Value) -> Result<(), Failed> {
        self.seq += 1;
        if let Some(fields) = message.as_object_mut() {
            fields.insert("seq".into(), self.seq.into());
        }
        let text = message.to_string();
        let frame = format!("Content-Length: {}\r\n\r\n{text}", text.len());
        self.out
            .write_all(frame.as_bytes())
            .and_then(|()| self.out.flush())
            .map_err(|e| Failed::new(format!("stdout cannot be written: {e}")))
    }
}

impl Adapter<'_> {
    fn answer(&mut self, command: &str, arguments: &Value) -> Answered {
        let nothing = |events: Vec<Value>| Ok((json!({}), events));
        match command {
            "initialize" => Ok((capabilities(), vec![event("initialized", json!({}))])),
            "launch" | "attach" => {
                let entry = arguments.get("stopOnEntry") == Some(&json!(true));
                if self.session.error().is_some() && !entry {
                    self.session.at = self.session.total;
                }
                nothing(Vec::new())
            }
            "setBreakpoints" => Ok((self.set_breakpoints(arguments), Vec::new())),
            "configurationDone" => {
                let stopped = if self.session.at > 1 { self.at_the_end() } else { stopped("entry", None) };
                nothing(vec![stopped])
            }
            "threads" => Ok((json!({"threads": [{"id": THREAD, "name": "attempt"}]}), Vec::new())),
            "stackTrace" => Ok((self.stack()?, Vec::new())),
            "scopes" => Ok((self.scopes()?, Vec::new())),
            "variables" => Ok((self.variables(arguments)?, Vec::new())),
            "evaluate" => Ok((self.evaluate(arguments)?, Vec::new())),
            "source" => {
                let asked = arguments.get("sourceReference").and_then(Value::as_u64).unwrap_or(SOURCE);
                let script = self.script_at(asked).ok_or_else(|| Failed::new("there is no such source"))?;
                let content = self.session.texts.get(&script).map(|lines| lines.join("\n"));
                Ok((json!({"content": content, "mimeType": "text/x-rhai"}), Vec::new()))
            }
            "continue" => self.run(Way::Forward),
            "reverseContinue" => self.run(Way::Backward),
            "stepIn" => self.stepped(|session| Ok(session.walk(Way::Forward, 1)), Way::Forward),
            "stepBack" => self.stepped(|session| Ok(session.walk(Way::Backward, 1)), Way::Backward),
            "next" => {
                let depth = self.depth()?;
                self.stepped(|session| session.walk_to_depth(Way::Forward, depth), Way::Forward)
            }
            "stepOut" => {
                let depth = self.depth()?;
                match depth.checked_sub(1) {
                    Some(above) => {
                        self.stepped(|session| session.walk_to_depth(Way::Forward, above), Way::Forward)
                    }
                    None => self.run(Way::Forward),
                }
            }
            "pause" | "setExceptionBreakpoints" | "setFunctionBreakpoints" | "disconnect" => {
                nothing(Vec::new())
            }
            "terminate" => nothing(vec![event("terminated", json!({}))]),
            other => Err(Failed::usage(format!("`{other}` is not supported"))),
        }
    }

    fn depth(&mut self) -> Result<u64, Failed> {
        Ok(self.session.now()?.get("depth").and_then(Value::as_u64).unwrap_or(0))
    }

    /// The editor is told the line at which each breakpoint really is.
    fn set_breakpoints(&mut self, arguments: &Value) -> Value {
        // An editor sets all breakpoints of one source at a time.
        let script = self.script_named(arguments.get("source").unwrap_or(&Value::Null));
        self.session.breakpoints.retain(|(of, _)| *of != script);
        let asked = arguments.get("breakpoints").and_then(Value::as_array).cloned().unwrap_or_default();
        let set: Vec<Value> = asked
            .iter()
            .map(|breakpoint| {
                let line = breakpoint.get("line").and_then(Value::as_u64).unwrap_or(0);
                let Ok(line) = u32::try_from(line) else { return json!({"verified": false}) };
                match self.session.break_at(script.clone(), line) {
                    Ok(()) => json!({"verified": true, "line": line}),
                    Err(failed) => json!({"verified": false, "line": line, "message": failed.message}),
                }
            })
            .collect();
        json!({"breakpoints": set})
    }

    fn run(&mut self, way: Way) -> Answered {
        let met = self.session.run(way)?;
        let event = match (met, way) {
            (true, _) => stopped("breakpoint", None),
            (false, Way::Forward) => self.at_the_end(),
            (false, Way::Backward) => stopped("entry", None),
        };
        Ok((json!({"allThreadsContinued": true}), vec![event]))
    }

    fn stepped(&mut self, step: impl FnOnce(&mut Session) -> Result<bool, Failed>, way: Way) -> Answered {
        let moved = step(&mut self.session)?;
        let event = match (moved, way) {
            (true, _) => stopped("step", None),
            (false, Way::Forward) => {
                self.session.at = self.session.total;
                self.at_the_end()
            }
            (false, Way::Backward) => stopped("entry", None),
        };
        Ok((json!({}), vec![event]))
    }

    fn at_the_end(&self) -> Value {
        match self.session.error() {
            Some(found) => stopped("exception", Some(&error(found))),
            None => stopped("pause", Some("the run ends here")),
        }
    }

    fn source(&self, script: &Script) -> Value {
        let name = self.file_of(script);
        match self.scripts.map(|dir| dir.join(&name)).filter(|path| path.exists()) {
            Some(path) => json!({"name": name, "path": path.to_string_lossy()}),
            None => {
                let at = self.session.texts.keys().zip(SOURCE..).find(|(known, _)| *known == script);
                json!({"name": name, "sourceReference": at.map_or(SOURCE, |(_, at)| at)})
            }
        }
    }

    /// The name of a script's file.
    fn file_of(&self, script: &Script) -> String {
        let name = script.clone().unwrap_or_else(|| text(self.session.head.get("script")));
        format!("{name}.rhai")
    }

    fn script_at(&self, reference: u64) -> Option<Script> {
        self.session
            .texts
            .keys()
            .zip(SOURCE..)
            .find(|(_, at)| *at == reference)
            .map(|(script, _)| script.clone())
    }

    /// The script that an editor means: by reference, or by the name of its file; otherwise the script itself.
    fn script_named(&self, source: &Value) -> Script {
        let reference = source.get("sourceReference").and_then(Value::as_u64).filter(|at| *at > 0);
        if let Some(script) = reference.and_then(|at| self.script_at(at)) {
            return script;
        }
        let path =
            source.get("path").or_else(|| source.get("name")).and_then(Value::as_str).unwrap_or_default();
        let file = Path::new(path).file_name().map(|name| name.to_string_lossy().into_owned());
        let known = self.session.texts.keys().find(|script| Some(self.file_of(script)) == file);
        known.cloned().unwrap_or_default()
    }

    fn stack(&mut self) -> Result<Value, Failed> {
        let step = self.session.now()?;
        self.nested.clear();
        let column = step.get("column").cloned().unwrap_or_default();
        let frames = step.get("stack").and_then(Value::as_array).cloned().unwrap_or_default();
        let frames: Vec<Value> = frames
            .iter()
            .enumerate()
            .map(|(at, frame)| {
                json!({
                    "id": at + 1,
                    "name": frame.get("function").and_then(Value::as_str).unwrap_or("(script)"),
                    "line": frame.get("line"),
                    "column": if at == 0 { column.clone() } else { 1.into() },
                    "source": self.source(&script_of(frame)),
                })
            })
            .collect();
        Ok(json!({"totalFrames": frames.len(), "stackFrames": frames}))
    }

    fn scopes(&mut self) -> Result<Value, Failed> {
        let step = self.session.now()?;
        let scope = |name: &str, reference: u64| json!({"name": name, "variablesReference": reference, "expensive": false});
        let counted = |name: &str, total: &str| format!("{name} ({})", text(step.get(total)));
        Ok(json!({"scopes": [
            scope("Variables", LOCALS),
            scope(&counted("KV reads", "reads_total"), READS),
            scope(&counted("KV writes", "writes_total"), WRITES),
            scope("How it ended", OUTCOME),
        ]}))
    }

    fn variables(&mut self, arguments: &Value) -> Result<Value, Failed> {
        let reference = arguments.get("variablesReference").and_then(Value::as_u64).unwrap_or(0);
        let step = self.session.now()?;
        let parts: Vec<(String, Value)> = match reference {
            LOCALS => parts_of(step.get("variables").unwrap_or(&Value::Null)),
            READS | WRITES => {
                let name = if reference == READS { "reads" } else { "writes" };
                let items = step.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
                items.into_iter().map(keyed).collect()
            }
            OUTCOME => {
                let head = &self.session.head;
                ["faithful", "reason", "error", "result", "operations"]
                    .into_iter()
                    .filter_map(|name| Some((name.to_owned(), head.get(name)?.clone())))
                    .collect()
            }
            nested => {
                let at = usize::try_from(nested.saturating_sub(FIRST_NESTED)).unwrap_or(usize::MAX);
                let value =
                    self.nested.get(at).ok_or_else(|| Failed::new("this value is of an earlier stop"))?;
                parts_of(value)
            }
        };
        let variables: Vec<Value> =
            parts.into_iter().map(|(name, value)| self.variable(&name, value)).collect();
        Ok(json!({"variables": variables}))
    }

    fn variable(&mut self, name: &str, value: Value) -> Value {
        let shown = if value.is_string() { value.to_string() } else { text(Some(&value)) };
        let reference = if value.is_array() || value.is_object() {
            self.nested.push(value);
            FIRST_NESTED + self.nested.len() as u64 - 1
        } else {
            0
        };
        json!({"name": name, "value": shown, "variablesReference": reference})
    }

    fn evaluate(&mut self, arguments: &Value) -> Result<Value, Failed> {
        let name = arguments.get("expression").and_then(Value::as_str).unwrap_or_default().trim().to_owned();
        let step = self.session.now()?;
        let mut found = step.get("variables").cloned().unwrap_or_default();
        for part in name.split('.') {
            found = match found.get(part) {
                Some(inner) => inner.clone(),
                None => return Err(Failed::new(format!("`{name}` is no variable in scope"))),
            };
        }
        let shown = self.variable(&name, found);
        let field = |name: &str| shown.get(name).cloned().unwrap_or_default();
        Ok(json!({"result": field("value"), "variablesReference": field("variablesReference")}))
    }
}

fn parts_of(value: &Value) -> Vec<(String, Value)> {
    match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        Value::Array(items) => {
            items.iter().enumerate().map(|(at, item)| (format!("[{at}]"), item.clone())).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

fn keyed(item: Value) -> (String, Value) {
    let key = item.get("key").map_or_else(|| format!("{}*", text(item.get("prefix"))), |key| text(Some(key)));
    (format!("{}/{key}", text(item.get("collection"))), item)
}

fn event(name: &str, body: Value) -> Value {
    json!({"type": "event", "event": name, "body": body})
}

fn stopped(reason: &str, why: Option<&str>) -> Value {
    let mut body = Map::from_iter([
        ("reason".to_owned(), reason.into()),
        ("threadId".to_owned(), THREAD.into()),
        ("allThreadsStopped".to_owned(), true.into()),
    ]);
    if let Some(why) = why {
        body.insert("description".to_owned(), why.into());
        body.insert("text".to_owned(), why.into());
    }
    event("stopped", body.into())
}
