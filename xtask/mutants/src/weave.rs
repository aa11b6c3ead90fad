//! All mutants of a file in one text: each is an alternative that is chosen while the tests run.
//!
//! Owns: where in the syntax a mutant stands and what is written there. `a == b` becomes
//! `(match crate::woven::choice(&[7]) { 0 => a == b, _ => (a) != (b) })`; a function's value becomes an early return; an
//! arm that is deleted gets a guard. Only one mutant is chosen at a time, so the operands in an alternative are the
//! untouched text. Never does: find out whether an alternative compiles (`build` does, and weaves again without it).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::Failure;
use crate::list::{Genre, Mutant, Place, offset};

/// A file with its mutants in it.
#[derive(Debug, Default)]
pub(crate) struct Woven {
    pub(crate) text: String,
    /// Where the alternatives stand in the text: for finding out whose fault an error is.
    pub(crate) alternatives: Vec<(Range<usize>, u32)>,
    /// Mutants for which there is no place: in constants, and where the syntax is not what is expected.
    pub(crate) left_out: BTreeSet<u32>,
    /// Mutants that cannot compile: a chain with a `let` in it knows no other operator.
    pub(crate) unviable: BTreeSet<u32>,
}

/// What is done to a piece of the text.
#[derive(Debug, Default)]
struct Edit {
    /// Alternatives to the piece, each with its mutant.
    instead: Vec<(u32, String)>,
    /// What is written before it, each with the mutant that it is for (0: none).
    before: Vec<(u32, String)>,
    /// The piece is left away.
    removed: bool,
}

/// Weaves `mutants`, all of one file, into its source.
pub(crate) fn weave(source: &str, mutants: &[&Mutant]) -> Result<Woven, Failure> {
    let file = syn::parse_file(source)?;
    let mut finder = Finder {
        source,
        mutants,
        edits: BTreeMap::new(),
        placed: BTreeSet::new(),
        unviable: BTreeSet::new(),
        constant: 0,
    };
    finder.visit_file(&file);
    let Finder { edits, mut placed, unviable, .. } = finder;
    placed.extend(&unviable);
    let mut woven = Woven { unviable, ..Woven::default() };
    woven.left_out = mutants.iter().map(|mutant| mutant.id).filter(|id| !placed.contains(id)).collect();
    // What is only written before a piece comes first; then outer pieces before inner ones that begin at the same place.
    let mut pieces: Vec<(Range<usize>, Edit)> =
        edits.into_iter().map(|((from, to), edit)| (from..to, edit)).collect();
    pieces.sort_by_key(|(range, _)| (range.start, !range.is_empty(), usize::MAX - range.end));
    let mut rest = pieces.as_slice();
    write(source, 0..source.len(), &mut rest, &mut woven);
    Ok(woven)
}

/// Writes a range of the source with the edits inside of it.
fn write(source: &str, range: Range<usize>, rest: &mut &[(Range<usize>, Edit)], woven: &mut Woven) {
    let mut at = range.start;
    while let Some(((piece, edit), others)) = rest.split_first() {
        if piece.start >= range.end {
            break;
        }
        *rest = others;
        woven.text.push_str(source.get(at..piece.start).unwrap_or_default());
        at = piece.end;
        for (id, text) in &edit.before {
            push(woven, *id, text);
        }
        if edit.removed {
            continue;
        }
        if edit.instead.is_empty() {
            write(source, piece.clone(), rest, woven);
            continue;
        }
        let ids: Vec<_> = edit.instead.iter().map(|(id, _)| id.to_string()).collect();
        woven.text.push_str(&format!("(match crate::woven::choice(&[{}]) {{ 0 => ", ids.join(", ")));
        write(source, piece.clone(), rest, woven);
        for (n, (id, text)) in edit.instead.iter().enumerate() {
            let last = n + 1 == edit.instead.len();
            woven.text.push_str(if last { ", _ => " } else { ", " });
            if !last {
                woven.text.push_str(&format!("{} => ", n + 1));
            }
            push(woven, *id, text);
        }
        woven.text.push_str(" })");
    }
    woven.text.push_str(source.get(at..range.end).unwrap_or_default());
}

fn push(woven: &mut Woven, id: u32, text: &str) {
    let from = woven.text.len();
    woven.text.push_str(text);
    woven.alternatives.push((from..woven.text.len(), id));
}

struct Finder<'a> {
    source: &'a str,
    mutants: &'a [&'a Mutant],
    edits: BTreeMap<(usize, usize), Edit>,
    placed: BTreeSet<u32>,
    unviable: BTreeSet<u32>,
    /// Depth inside constants, where nothing can be chosen.
    constant: u32,
}

impl<'a> Finder<'a> {
    fn range(&self, spanned: &impl Spanned) -> Range<usize> {
        let span = spanned.span();
        let at = |place: proc_macro2::LineColumn| {
            offset(self.source, Place { line: place.line, column: place.column + 1 })
        };
        at(span.start())..at(span.end())
    }

    fn text(&self, spanned: &impl Spanned) -> &'a str {
        self.source.get(self.range(spanned)).unwrap_or_default()
    }

    /// The mutants of that kind whose bytes are these.
    fn at(&self, genre: Genre, range: &Range<usize>) -> Vec<&'a Mutant> {
        if self.constant > 0 {
            return Vec::new();
        }
        let here = |mutant: &&&Mutant| mutant.genre == genre && mutant.span == *range;
        self.mutants.iter().filter(here).copied().collect()
    }

    fn edit(&mut self, range: Range<usize>) -> &mut Edit {
        self.edits.entry((range.start, range.end)).or_default()
    }

    fn instead(&mut self, range: Range<usize>, mutant: &Mutant, text: String) {
        self.placed.insert(mutant.id);
        self.edit(range).instead.push((mutant.id, text));
    }

    fn before(&mut self, range: Range<usize>, mutant: &Mutant, text: String) {
        self.placed.insert(mutant.id);
        self.edit(range).before.push((mutant.id, text));
    }

    /// A function's body; one that is `const` cannot choose, and is not in the woven text.
    fn body(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let (Some(first), Some(last)) = (block.stmts.first(), block.stmts.last()) else { return };
        let inner = self.range(first).start..self.range(last).end;
        for mutant in self.at(Genre::FnValue, &inner) {
            let value = &mutant.replacement;
            let text = format!("if crate::woven::choice(&[{}]) != 0 {{ return {value}; }} ", mutant.id);
            self.before(inner.start..inner.start, mutant, text);
        }
        let whole = self.range(signature).start..self.range(block).end;
        let changed = self.mutants.iter().any(|it| whole.contains(&it.span.start));
        if let (Some(constant), true) = (&signature.constness, changed) {
            let range = self.range(constant);
            self.edit(range).removed = true;
        }
    }
}

/// Whether a `let` stands among what `&&` joins.
fn has_let(expr: &syn::ExprBinary) -> bool {
    let is_let = |side: &syn::Expr| {
        let joined = if let syn::Expr::Binary(inner) = side { Some(inner) } else { None };
        matches!(side, syn::Expr::Let(_))
            || joined.is_some_and(|inner| matches!(inner.op, syn::BinOp::And(_)) && has_let(inner))
    };
    is_let(&expr.left) || is_let(&expr.right)
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.body(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.body(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.body(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.constant += 1;
        visit::visit_item_const(self, item);
        self.constant -= 1;
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.constant += 1;
        visit::visit_impl_item_const(self, item);
        self.constant -= 1;
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.constant += 1;
        visit::visit_item_static(self, item);
        self.constant -= 1;
    }

    fn visit_type(&mut self, item: &'ast syn::Type) {
        self.constant += 1;
        visit::visit_type(self, item);
        self.constant -= 1;
    }

    fn visit_expr_binary(&mut self, expr: &'ast syn::ExprBinary) {
        let operator = self.range(&expr.op);
        for mutant in self.at(Genre::BinaryOperator, &operator) {
            if has_let(expr) {
                self.unviable.insert(mutant.id);
                continue;
            }
            let (left, right) = (self.text(&expr.left), self.text(&expr.right));
            let text = format!("({left}) {} ({right})", mutant.replacement);
            self.instead(self.range(expr), mutant, text);
        }
        visit::visit_expr_binary(self, expr);
    }

    fn visit_expr_unary(&mut self, expr: &'ast syn::ExprUnary) {
        let operator = self.range(&expr.op);
        for mutant in self.at(Genre::UnaryOperator, &operator) {
            let text = format!("{}({})", mutant.replacement, self.text(&expr.expr));
            self.instead(self.range(expr), mutant, text);
        }
        visit::visit_expr_unary(self, expr);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let whole = self.range(arm);
        let pattern_end = self.range(&arm.pat).end;
        let deleted: Vec<_> = self
            .mutants
            .iter()
            .copied()
            .filter(|it| it.genre == Genre::MatchArm && it.span.start == whole.start)
            .collect();
        for mutant in deleted {
            let chosen = format!("crate::woven::choice(&[{}]) == 0", mutant.id);
            match &arm.guard {
                Some((token, guard)) => {
                    let (behind, end) = (self.range(token).end, self.range(guard.as_ref()).end);
                    self.before(behind..behind, mutant, format!(" {chosen} && ("));
                    self.edit(end..end).before.push((0, ")".to_owned()));
                }
                None => self.before(pattern_end..pattern_end, mutant, format!(" if {chosen}")),
            }
        }
        if let Some((_, guard)) = &arm.guard {
            let range = self.range(guard.as_ref());
            for mutant in self.at(Genre::MatchArmGuard, &range) {
                self.instead(range.clone(), mutant, mutant.replacement.clone());
            }
        }
        visit::visit_arm(self, arm);
    }

    fn visit_expr_struct(&mut self, expr: &'ast syn::ExprStruct) {
        if let Some(rest) = &expr.rest {
            for field in &expr.fields {
                let whole = self.range(field);
                let named = self.range(&field.member);
                for mutant in self
                    .mutants
                    .iter()
                    .copied()
                    .filter(|it| it.genre == Genre::StructField && it.span.start == whole.start)
                {
                    let name = self.text(&field.member);
                    let text = format!("({}).{name}", self.text(rest.as_ref()));
                    if field.colon_token.is_none() {
                        self.edit(named.start..named.start).before.push((0, format!("{name}: ")));
                    }
                    self.instead(self.range(&field.expr), mutant, text);
                }
            }
        }
        visit::visit_expr_struct(self, expr);
    }
}
