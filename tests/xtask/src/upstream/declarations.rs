//! The declarations of a C file in nginx's style, as words without comments.

use std::collections::BTreeMap;

/// Each declaration's name and text: functions, types, prototypes, macros.
pub(super) fn declarations(source: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut add = |text: &str| {
        if let Some(name) = name(text) {
            let words: Vec<_> = text.split_whitespace().collect();
            // A prototype, or a branch of #if, has the name of another one.
            let all: &mut String = found.entry(name).or_default();
            *all += &words.join(" ");
        }
    };

    let mut text = String::new();
    let mut depth = 0_i32;
    let source = without_comments(source);
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if line.starts_with('#') {
            let mut directive = line.to_owned();
            while directive.ends_with('\\') {
                directive.pop();
                directive += lines.next().unwrap_or_default();
            }
            match depth {
                0 if directive.starts_with("#define ") => add(&directive),
                0 => (),
                _ => text += &directive,
            }
            continue;
        }
        text += line;
        text.push('\n');
        depth += level(line);
        let ends = line.trim_end().ends_with([';', '}']);
        if depth == 0 && ends {
            add(&text);
            text.clear();
        }
    }
    found
}

/// How many braces are opened and not closed in a line.
fn level(line: &str) -> i32 {
    // A brace in quotes is none.
    let code = line.replace("'{'", "").replace("'}'", "");
    let code = code.split('"').step_by(2);
    code.flat_map(str::chars)
        .map(|character| match character {
            '{' => 1,
            '}' => -1,
            _ => 0,
        })
        .sum()
}

/// The name that a declaration declares.
fn name(text: &str) -> Option<String> {
    if let Some(rest) = text.strip_prefix("#define ") {
        return identifiers(rest).next().map(str::to_owned);
    }
    let head = text.split('{').next().unwrap_or_default();
    if let Some((_, pointer)) = head.split_once("(*") {
        if head.trim_start().starts_with("typedef") {
            return identifiers(pointer).next().map(str::to_owned);
        }
    }
    let is_type = head.trim_start().starts_with("typedef") || !head.contains('(');
    if !is_type {
        let before = head.split('(').next().unwrap_or_default();
        return identifiers(before).last().map(str::to_owned);
    }
    let is_structure = head.trim_start().starts_with("struct ") && text.contains('{');
    let names = identifiers(if is_structure || !text.contains('}') {
        head
    } else {
        text.rsplit('}').next().unwrap_or_default()
    });
    // An initialized variable: the name stands before the sign.
    let of_variable = head.split(['=', '[']).next().unwrap_or_default();
    names
        .last()
        .or_else(|| identifiers(of_variable).last())
        .map(str::to_owned)
}

fn identifiers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_')
        .filter(|word| word.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_'))
}

fn without_comments(source: &str) -> String {
    let mut text = String::new();
    let mut parts = source.split("/*");
    text += parts.next().unwrap_or_default();
    for part in parts {
        text += part.split_once("*/").map_or("", |(_, code)| code);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_names() {
        let source = "\
/* words */
#include <ngx_core.h>
#define NGX_A  1
#define NGX_B(x)                                                              \\
    (x)
typedef struct ngx_a_s  ngx_a_t;
typedef ngx_int_t (*ngx_filter_pt)(ngx_a_t *p,
                                   ngx_buf_t *buf);
struct ngx_a_s {
    int  field;
};
typedef struct {
    int  other;
} ngx_b_t;
static ngx_int_t ngx_f(ngx_a_t *a);

static ngx_command_t  commands[] = {
    { 1 },
    { 2 }
};

static ngx_int_t
ngx_f(ngx_a_t *a)
{
#if (NGX_A)
    if (a) {
        ngx_log(\"}\", '}');
    }
#endif
    return 0; /* } */
}
";
        let found = declarations(source);
        let names: Vec<_> = found.keys().map(String::as_str).collect();
        let mut expected = [
            "NGX_A",
            "NGX_B",
            "ngx_a_t",
            "ngx_filter_pt",
            "ngx_a_s",
            "ngx_b_t",
            "ngx_f",
            "commands",
        ];
        expected.sort();
        assert_eq!(names, expected);
        assert!(found["ngx_f"].contains("return 0;"));
        assert!(!found["ngx_f"].contains("words"));
    }
}
