//! What a script looks at of `ctx`: the rest need not be made.
//!
//! Owns: [`Needs`], read off a script's tree once, when it is compiled. Never does: guess. A use that is anything but
//! a field of `ctx` or of `ctx.request` in plain sight (`ctx.keys()`, `f(ctx)`, a closure that captures it) needs all
//! of it.
//!
//! Invariant: E166 a run cannot tell a `ctx` that was made for its needs from the whole one.

use rhai::{AST, ASTNode, Expr};

/// The variable.
const CTX: &str = "ctx";

/// A field of `ctx` or of `ctx.request`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    App,
    Script,
    Sdk,
    ExecutionId,
    RootExecutionId,
    Depth,
    Attempt,
    Principal,
    Lsn,
    Event,
    Payload,
    /// That there is a `ctx.request`, whatever is in it.
    Request,
    Method,
    Path,
    Params,
    Query,
    Headers,
    Body,
    Json,
    Bytes,
}

/// Fields of `ctx` but for `request`.
const OF_CTX: [Field; 11] = [
    Field::App,
    Field::Script,
    Field::Sdk,
    Field::ExecutionId,
    Field::RootExecutionId,
    Field::Depth,
    Field::Attempt,
    Field::Principal,
    Field::Lsn,
    Field::Event,
    Field::Payload,
];
/// Fields of `ctx.request`.
const OF_REQUEST: [Field; 8] = [
    Field::Method,
    Field::Path,
    Field::Params,
    Field::Query,
    Field::Headers,
    Field::Body,
    Field::Json,
    Field::Bytes,
];

impl Field {
    /// What scripts call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Field::App => "app",
            Field::Script => "script",
            Field::Sdk => "sdk",
            Field::ExecutionId => "execution_id",
            Field::RootExecutionId => "root_execution_id",
            Field::Depth => "depth",
            Field::Attempt => "attempt",
            Field::Principal => "principal",
            Field::Lsn => "lsn",
            Field::Event => "event",
            Field::Payload => "payload",
            Field::Request => "request",
            Field::Method => "method",
            Field::Path => "path",
            Field::Params => "params",
            Field::Query => "query",
            Field::Headers => "headers",
            Field::Body => "body",
            Field::Json => "json",
            Field::Bytes => "bytes",
        }
    }
}

/// Fields that a script looks at: one bit each, by their order in [`Field`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs(u32);

impl Needs {
    /// The whole of `ctx`.
    pub(super) const ALL: Needs = Needs(u32::MAX);

    /// What the script of this tree looks at.
    pub(super) fn of(tree: &AST) -> Needs {
        let mut needs = Needs::default();
        tree.walk(&mut |path: &[ASTNode<'_>]| {
            if let [.., ASTNode::Expr(found)] = path
                && is_ctx(found)
            {
                let around = path.len().checked_sub(2).and_then(|at| path.get(at));
                needs = needs.and(use_of(found, around));
            }
            true
        });
        needs
    }

    /// What two scripts look at.
    pub(super) const fn and(self, other: Needs) -> Needs {
        Needs(self.0 | other.0)
    }

    /// Whether the field is looked at.
    pub(super) const fn has(self, field: Field) -> bool {
        self.0 & Needs::only(field).0 != 0
    }

    const fn only(field: Field) -> Needs {
        Needs(1 << field as u32)
    }

    /// One field of `ctx.request`, which makes for a `ctx.request`.
    const fn in_request(field: Field) -> Needs {
        Needs::only(Field::Request).and(Needs::only(field))
    }

    fn whole_request() -> Needs {
        OF_REQUEST.into_iter().fold(Needs::default(), |needs, field| needs.and(Needs::in_request(field)))
    }
}

fn is_ctx(found: &Expr) -> bool {
    matches!(found, Expr::Variable(variable, ..) if variable.1 == CTX)
}

/// What one mention of `ctx` looks at; `around` is the expression that it stands in.
fn use_of(ctx: &Expr, around: Option<&ASTNode<'_>>) -> Needs {
    let Some(ASTNode::Expr(Expr::Dot(chain, ..))) = around else { return Needs::ALL };
    if !std::ptr::eq(ctx, &raw const chain.lhs) {
        return Needs::ALL;
    }
    let Some((field, behind)) = property(&chain.rhs) else { return Needs::ALL };
    // A name that is no field has no value, whatever else is there.
    let named = |fields: &[Field], name: &str| fields.iter().copied().find(|field| field.name() == name);
    if field != Field::Request.name() {
        return named(&OF_CTX, field).map_or_else(Needs::default, Needs::only);
    }
    match behind {
        Behind::Dot(behind) => match property(behind) {
            Some((name, _)) => Needs::in_request(named(&OF_REQUEST, name).unwrap_or(Field::Request)),
            None => Needs::whole_request(),
        },
        Behind::Nothing | Behind::Index => Needs::whole_request(),
    }
}

/// What follows a field in its chain.
enum Behind<'a> {
    Nothing,
    Dot(&'a Expr),
    Index,
}

/// The field that a chain goes on with; `None` if it is a call.
fn property(chain: &Expr) -> Option<(&str, Behind<'_>)> {
    let (field, behind) = if let Expr::Dot(dot, ..) = chain {
        (&dot.lhs, Behind::Dot(&dot.rhs))
    } else if let Expr::Index(index, ..) = chain {
        (&index.lhs, Behind::Index)
    } else {
        (chain, Behind::Nothing)
    };
    if let Expr::Property(property, ..) = field { Some((&property.2, behind)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::super::compile::compile;
    use super::{Field, Needs, OF_REQUEST};

    fn bits(fields: &[Field]) -> Needs {
        fields.iter().fold(Needs::default(), |needs, field| {
            needs.and(if OF_REQUEST.contains(field) {
                Needs::in_request(*field)
            } else {
                Needs::only(*field)
            })
        })
    }

    #[track_caller]
    fn check(source: &str, expected: Needs) {
        let compiled = compile("it", source).unwrap();
        assert_eq!(Needs::of(compiled.ast()), expected, "{source}");
    }

    #[test]
    fn e166_fields_in_plain_sight_are_needed_alone() {
        check("1", Needs::default());
        check("\"ctx.app\"", Needs::default());
        check("ctx.app", bits(&[Field::App]));
        check("ctx.script.name + ctx?.depth", bits(&[Field::Script, Field::Depth]));
        check("ctx.request.params.key", bits(&[Field::Params]));
        check("ctx.request.headers[\"x\"]", bits(&[Field::Headers]));
        check("ctx.request.json.a.b[1].c", bits(&[Field::Json]));
        check("ctx.request.body.len()", bits(&[Field::Body]));
        check("ctx.event.value", bits(&[Field::Event]));
        check("`${ctx.lsn}`", bits(&[Field::Lsn]));
        check("fn f() { ctx.attempt } f()", bits(&[Field::Attempt]));
        check("if ctx.payload == () { for i in ctx.event { } }", bits(&[Field::Payload, Field::Event]));
        check("switch ctx.sdk { 1 => ctx.app, _ => 2 }", bits(&[Field::Sdk, Field::App]));
        check("try { throw ctx.app } catch (e) { ctx.depth }", bits(&[Field::App, Field::Depth]));
        check("let m = #{ a: [ctx.app] }; m.a[ctx.depth]", bits(&[Field::App, Field::Depth]));
    }

    #[test]
    fn e166_a_name_that_is_no_field_needs_nothing() {
        check("ctx.nothing", Needs::default());
        check("ctx.request.nothing", Needs::only(Field::Request));
    }

    #[test]
    fn e166_anything_else_needs_the_whole() {
        for source in [
            "ctx",
            "ctx.keys()",
            "ctx[\"app\"]",
            "let c = ctx; c.app",
            "fn f(c) { c.app } f(ctx)",
            "ctx == 1",
            "[ctx]",
            "`${ctx}`",
            "\"app\" in ctx",
            "for (k, v) in ctx { }",
            "return ctx;",
        ] {
            check(source, Needs::ALL);
        }
        check("ctx.request", Needs::whole_request());
        check("ctx.request.keys()", Needs::whole_request());
        check("ctx.request[\"json\"]", Needs::whole_request());
    }

    #[test]
    fn e166_what_a_closure_captures_is_seen() {
        let compiled = compile("it", "[1].map(|x| x + ctx.depth)").unwrap();
        assert!(Needs::of(compiled.ast()).has(Field::Depth));
        let compiled = compile("it", "let f = |x| ctx; f.call(1)").unwrap();
        assert_eq!(Needs::of(compiled.ast()), Needs::ALL);
    }
}
