//! Random scripts: what the corpus is made of.
//!
//! Owns: the forms of statements and endings, and how a script, its libraries and its calls are drawn from them. Each form
//! exists for something that a replay could get wrong; `census.rs` counts what the runs made of them.

/// SplitMix64.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below
    }

    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.next(n) == 0
    }

    pub(super) fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        let at = usize::try_from(self.next(all.len() as u64)).unwrap();
        all.get(at).copied().unwrap_or_default()
    }
}

pub(super) const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
/// Scripts that others import.
pub(super) const LIBRARIES: [&str; 3] = ["lib0", "lib1", "lib2"];

/// Statements; `vN` and `fN` are fresh names, `N` a fresh number, `KEY` a key, `LIB` a library.
const STATEMENTS: [&str; 33] = [
    // Reads, writes, counters, lists.
    r#"let vN = kv::get("c", "KEY");"#,
    r#"if kv::has("c", "KEY") { log::info("there"); } else { log::warn("absent"); }"#,
    r#"kv::set("c", "KEY", #{ n: N, at: time::now(), by: ctx.execution_id });"#,
    r#"kv::set("c", "KEY", [N, random::int(1, 1000), random::float()], #{ ttl_ms: 200 });"#,
    r#"for of in ["c", "n", "j", "b"] { kv::delete(of, "KEY") }"#,
    r#"let vN = kv::incr("n", "KEY", N);"#,
    r#"let vN = kv::list("c", #{ limit: 3, reverse: N % 2 == 0 }); log::info(`page of ${vN.items.len()}`);"#,
    r#"let vN = kv::list("old"); kv::set("j", "old", vN.items.len());"#,
    r#"for i in 0..(N % 5) { kv::set("loop", `k${i}`, i); }"#,
    r#"kv::set("n", "KEY", (kv::get("n", "KEY") ?? 0) + 1);"#,
    // The past.
    r#"let vN = kv::get_at("c", "KEY", ctx.lsn - 2); log::info(`${vN}`);"#,
    r#"let vN = kv::history("j", "KEY", 3); log::info(`${vN.len()} versions`);"#,
    // Chance and time.
    r#"let vN = uuid::v4() + uuid::v7(); log::DEBUG(vN);"#,
    r#"let vN = random::bytes(8); kv::set("b", "KEY", base64::encode(vN));"#,
    r#"switch random::int(0, 3) { 0 => log::info("zero"), 1 => kv::set("s", "one", 1), _ => () }"#,
    r#"log::info(time::rfc3339(time::now()));"#,
    // The language.
    r#"let vN = [3, 1, 2].map(|x| x * N).filter(|x| x > 1); kv::set("c", "KEY", vN);"#,
    r#"try { throw "caught N" } catch (e) { log::error(`${e}`); }"#,
    r#"try { let x = kv::get("c", ""); } catch (e) { log::info(e.message); }"#,
    r#"fn fN(a) { if a <= 0 { return 0; } a + fN(a - 1) } let vN = fN(N % 7);"#,
    r#"let vN = crypto::sha256(`${ctx.lsn} N`); log::info(hex::encode(vN));"#,
    r#"let vN = #{ z: 1, a: 2, m: ctx.attempt }; for k in vN.keys() { log::info(k); }"#,
    r#"let vN = json::stringify(json::parse("{\"x\": [N, null, 1.5]}")); kv::set("j", "KEY", vN);"#,
    // Secrets.
    r#"let vN = secrets::get("pass"); log::info(crypto::sha256(vN).len().to_string());"#,
    // Outgoing calls.
    r#"let vN = http::get("http://api.example/KEY"); kv::set("j", "KEY", vN.body);"#,
    r#"let vN = http::request(#{ method: "PUT", url: "http://api.example/KEY?n=N", body: #{ n: N }, headers: #{ "x-a": "b" } }); log::info(`${vN.status}`);"#,
    r#"let vN = (kv::get("n", "KEY") ?? 0) + N; let wN = http::get("http://api.example/busy/KEY"); kv::set("j", "KEY", vN);"#,
    r#"try { http::get("http://api.example/down") } catch (e) { log::warn(`${e}`); }"#,
    r#"let vN = http::get("http://api.example/missing"); if vN.status != 404 { throw vN }"#,
    // Queues.
    r#"let vN = queue::send("mails", #{ n: N, dice: random::int(0, 9) });"#,
    r#"queue::send("mails", N, #{ delay_ms: 120, key: "KEY" });"#,
    // Imports.
    r#"import "LIB" as lN; let vN = lN::twice(N);"#,
    r#"import "LIB" as mN; mN::keep("KEY", N); log::info(mN::name());"#,
];

const ENDINGS: [&str; 11] = [
    r#"#{ n: ctx.lsn, dice: random::int(0, 9) }"#,
    r#""text""#,
    r#"()"#,
    r#"[1, 2.5, "x", ()]"#,
    r##"#{ status: 201, headers: #{ "x-a": "b" }, body: #{ at: time::rfc3339(time::now()) } }"##,
    r#"throw #{ code: N, text: "thrown" }"#,
    r#"let nothing = (); nothing.missing.deeper"#,
    r#"#{ status: 99 }"#,
    r#"if random::int(0, 1) == 0 { throw "heads" } else { "tails" }"#,
    r#"if ctx.attempt < 2 { throw "not yet" } "at last""#,
    r#"import "LIB" as zN; zN::twice(N)"#,
];

/// Endings that use up a budget, or meet something that is not there.
const RARE: [&str; 10] = [
    r#"let s = "x"; loop { s += s }"#,
    r#"fn deep(n) { deep(n + 1) } deep(0)"#,
    r#"let n = 0; loop { n += 1 }"#,
    r#"let n = random::int(0, 9); loop { n += 1; if n % 97 == 0 { log::info(`${n}`); kv::set("c", "a", n); } }"#,
    r#"for k in 0..9 { kv::set("fan", `${k}`, k) } 1"#,
    r#"for k in 0..70 { kv::set("many", `${k}`, k) } 1"#,
    r#"http::get("http://api.example/slow").body"#,
    r#"queue::send("nobody", 1)"#,
    r#"import "LIB" as l; l::fails(N)"#,
    "BLOBS",
];

fn filled(form: &str, dice: &mut Dice, n: usize) -> String {
    let (key, library) = (dice.of(&KEYS), dice.of(&LIBRARIES));
    let mut text = form.replace("KEY", key).replace("LIB", library);
    for name in ["v", "w", "f", "l", "m", "z"] {
        text = text.replace(&format!("{name}N"), &format!("{name}{n}"));
    }
    text.replace('N', &n.to_string())
}

/// Holds more than the budget of memory, in many values that are small enough each.
fn blobs() -> String {
    let held: String = (0..60).map(|n| format!("let b{n} = blob(90000, {n});\n")).collect();
    held + "let n = 0; while n < 1000 { n += 1 } n"
}

/// How a script ends.
pub(super) fn ending(dice: &mut Dice, n: usize) -> String {
    let form = if dice.one_in(8) { dice.of(&RARE) } else { dice.of(&ENDINGS) };
    if form == "BLOBS" { blobs() } else { filled(form, dice, n) }
}

/// A whole script.
pub(super) fn script(dice: &mut Dice) -> String {
    let statements = 1 + usize::try_from(dice.next(6)).unwrap();
    let mut lines: Vec<String> = (0..statements)
        .map(|n| {
            let form = dice.of(&STATEMENTS);
            filled(form, dice, n)
        })
        .collect();
    lines.push(ending(dice, statements));
    lines.join("\n")
}

/// A library; the first imports the second.
pub(super) fn library(dice: &mut Dice, at: usize) -> String {
    let (first, inner) =
        if at == 0 { ("import \"lib1\" as inner;\n", "inner::twice(n)") } else { ("", "n + n") };
    let n = dice.next(1000);
    format!(
        "{first}fn twice(n) {{ {inner} }}\n\
         fn keep(key, n) {{ kv::set(\"lib\", key, [n, {n}, random::int(1, 6)]); }}\n\
         fn name() {{ \"version {n}\" }}\n\
         fn fails(n) {{\n  let x = {n};\n  throw `in the library: ${{n + x}}`\n}}"
    )
}
