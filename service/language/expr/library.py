r"""What the language's operators and functions are in jq: its rules are stricter, and jq's own would hide mistakes.

Nil has no members, numbers are not added to texts, conditions are true or false and nothing else. A definition
uses only those above it. jq's own operators are functions too (`_less`), and a parameter `$x` also defines `x`: no name here
is one of jq's.
"""

import re
from typing import Final

DEFINITIONS: Final = r"""
def expr_kind: if . == null then "nil" elif type == "boolean" then "bool" elif type == "object" then "map" else type end;
def expr_not_a($what): error("\($what) was expected, not \(expr_kind)");
def expr_bool($v): $v | if type == "boolean" then . else expr_not_a("true or false") end;
def expr_number($v): $v | if type == "number" then . else expr_not_a("a number") end;
def expr_text($v): $v | if type == "string" then . else expr_not_a("a string") end;
def expr_list($v): $v | if type == "array" then . else expr_not_a("an array") end;
def expr_object($v): $v | if type == "object" then . else expr_not_a("a map") end;
def expr_whole($v): expr_number($v) | if . == floor then . else error("a whole number was expected, not \(.)") end;
def expr_finite: if isinfinite or isnan then error("the result is too large for a number") else . end;
def expr_both($a; $b; $kind): ($a | type) == $kind and ($b | type) == $kind;
def expr_cannot($a; $b; $operator): error("\($a | expr_kind) \($operator) \($b | expr_kind) is not possible");
def expr_add($a; $b): if expr_both($a; $b; "number") then $a + $b | expr_finite elif expr_both($a; $b; "string") then $a + $b else expr_cannot($a; $b; "+") end;
def expr_subtract($a; $b): if expr_both($a; $b; "number") then $a - $b | expr_finite else expr_cannot($a; $b; "-") end;
def expr_multiply($a; $b): if expr_both($a; $b; "number") then $a * $b | expr_finite else expr_cannot($a; $b; "*") end;
def expr_divide($a; $b): if expr_both($a; $b; "number") | not then expr_cannot($a; $b; "/") elif $b == 0 then error("division by zero") else $a / $b | expr_finite end;
def expr_modulo($a; $b): if expr_both($a; $b; "number") | not then expr_cannot($a; $b; "%") elif $b == 0 then error("division by zero") else expr_whole($a) % expr_whole($b) end;
def expr_power($a; $b): if expr_both($a; $b; "number") then pow($a; $b) | expr_finite else expr_cannot($a; $b; "**") end;
def expr_negative($v): -expr_number($v);
def expr_positive($v): expr_number($v);
def expr_not($v): expr_bool($v) | not;
def expr_orderable($a; $b; $operator): expr_both($a; $b; "number") or expr_both($a; $b; "string") or expr_cannot($a; $b; $operator);
def expr_less($a; $b): expr_orderable($a; $b; "<") and $a < $b;
def expr_greater($a; $b): expr_orderable($a; $b; ">") and $a > $b;
def expr_at_most($a; $b): expr_orderable($a; $b; "<=") and $a <= $b;
def expr_at_least($a; $b): expr_orderable($a; $b; ">=") and $a >= $b;
def expr_equal($a; $b): $a == $b;
def expr_unequal($a; $b): $a != $b;
def expr_coalesce($a; b): if $a == null then b else $a end;
def expr_in($a; $b): $b | if . == null then false elif type == "array" then any(.[]; . == $a) elif type == "object" then has(expr_text($a)) else expr_cannot($a; $b; "in") end;
def expr_contains($a; $b): $a != null and $b != null and (expr_text($b) as $b | expr_text($a) | contains($b));
def expr_starts_with($a; $b): $a != null and $b != null and (expr_text($b) as $b | expr_text($a) | startswith($b));
def expr_ends_with($a; $b): $a != null and $b != null and (expr_text($b) as $b | expr_text($a) | endswith($b));
def expr_matches($a; $b): $a != null and $b != null and (expr_text($b) as $b | expr_text($a) | test($b));
def expr_range($a; $b): if expr_whole($b) - expr_whole($a) >= 1000000 then error("a range has at most 1000000 numbers") else [range($a; $b + 1)] end;
def expr_element($xs; $i): expr_whole($i) as $i | (if $i < 0 then $i + ($xs | length) else $i end) as $at | if $at >= 0 and $at < ($xs | length) then $xs[$at] else error("index out of range: \($i) (array length is \($xs | length))") end;
def expr_member($v; $key): if ($v | type) == "object" then $v[expr_text($key)] elif ($v | type) == "array" then expr_element($v; $key) else error("cannot fetch \($key | tojson) from \($v | expr_kind)") end;
def expr_slice($v; $a; $b): if $v | type | IN("array", "string") then $v[($a | if . == null then . else expr_whole(.) end):($b | if . == null then . else expr_whole(.) end)] else error("cannot slice \($v | expr_kind)") end;
def expr_each($xs): expr_list($xs) | range(length) as $i | [.[$i], $i];
def expr_all($xs; f): all(expr_each($xs); expr_bool(f));
def expr_any($xs; f): any(expr_each($xs); expr_bool(f));
def expr_none($xs; f): expr_any($xs; f) | not;
def expr_selected($xs; f): [expr_each($xs) | select(expr_bool(f))];
def expr_one($xs; f): expr_selected($xs; f) | length == 1;
def expr_filter($xs; f): expr_selected($xs; f) | map(.[0]);
def expr_count($xs; f): expr_selected($xs; f) | length;
def expr_count($xs): expr_count($xs; .[0]);
def expr_map($xs; f): [expr_each($xs) | f];
def expr_find($xs; f): [limit(1; expr_each($xs) | select(expr_bool(f)))] | .[0][0];
def expr_findIndex($xs; f): [limit(1; expr_each($xs) | select(expr_bool(f)))] | .[0][1];
def expr_findLast($xs; f): expr_selected($xs; f) | last[0];
def expr_findLastIndex($xs; f): expr_selected($xs; f) | last[1];
def expr_sum($xs): reduce (expr_list($xs) | .[]) as $x (0; . + expr_number($x)) | expr_finite;
def expr_sum($xs; f): expr_sum(expr_map($xs; f));
def expr_reduce($xs; f; $start): reduce expr_each($xs) as $each ($start; [$each[], .] | f);
def expr_reduce($xs; f): if expr_list($xs) == [] then error("reduce() of an empty array needs a value to begin with") else reduce (expr_each($xs) | select(.[1] > 0)) as $each ($xs[0]; [$each[], .] | f) end;
def expr_numbers($xs): [$xs | flatten | .[] | expr_number(.)];
def expr_extreme($xs; f): expr_numbers($xs) | if . == [] then error("there is no number to choose from") else f end;
def expr_min($xs): expr_extreme($xs; min);
def expr_max($xs): expr_extreme($xs; max);
def expr_mean($xs): expr_numbers($xs) | if . == [] then 0 else add / length | expr_finite end;
def expr_median($xs): expr_numbers($xs) | sort | length as $n | if $n == 0 then 0 elif $n % 2 == 1 then .[($n - 1) / 2] else (.[$n / 2 - 1] + .[$n / 2]) / 2 end;
def expr_abs($v): expr_number($v) | if . < 0 then -. else . end;
def expr_ceil($v): expr_number($v) | ceil;
def expr_floor($v): expr_number($v) | floor;
def expr_round($v): expr_number($v) | round;
def expr_int($v): $v | if type == "number" then trunc elif type == "string" and test("^[+-]?[0-9]+$") then ltrimstr("+") | tonumber else error("int() cannot read \($v | tojson)") end;
def expr_float($v): $v | if type == "number" then . elif type == "string" and test("^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]+)?$") then ltrimstr("+") | sub("[.](?![0-9])"; "") | sub("^(?<sign>-?)[.]"; "\(.sign)0.") | tonumber | expr_finite else error("float() cannot read \($v | tojson)") end;
def expr_digits: tojson | if test("^-?[0-9]+$") then . else (fromjson + 0 | tojson) end;
def expr_string($v): $v | if type == "string" then . elif . == null then "<nil>" elif type == "number" then expr_digits elif type == "boolean" then tojson elif type == "array" then "[\(map(expr_string(.)) | join(" "))]" else "map[\([to_entries[] | "\(.key):\(expr_string(.value))"] | sort | join(" "))]" end;
def expr_type($v): $v | if type == "number" then if . == floor then "int" else "float" end else expr_kind end;
def expr_cased($v; $cases): expr_text($v) | explode | map($cases[tostring] // .) | implode;
def expr_upper($v): expr_cased($v; $upper_cases);
def expr_lower($v): expr_cased($v; $lower_cases);
def expr_trim($v): expr_text($v) | trim;
def expr_trim($v; $characters): (expr_text($characters) | explode) as $cut | expr_text($v) | explode as $all | [range($all | length) | select($all[.] | IN($cut[]) | not)] | if . == [] then "" else $all[.[0]:.[-1] + 1] | implode end;
def expr_trimPrefix($v; $prefix): expr_text($prefix) as $prefix | expr_text($v) | ltrimstr($prefix);
def expr_trimSuffix($v; $suffix): expr_text($suffix) as $suffix | expr_text($v) | rtrimstr($suffix);
def expr_hasPrefix($v; $prefix): expr_text($prefix) as $prefix | expr_text($v) | startswith($prefix);
def expr_hasSuffix($v; $suffix): expr_text($suffix) as $suffix | expr_text($v) | endswith($suffix);
def expr_split($v; $by): expr_text($by) as $by | expr_text($v) | if . == "" and $by != "" then [""] else split($by) end;
def expr_split($v; $by; $n): expr_whole($n) as $n | expr_split($v; $by) | if $n < 0 or length <= $n then . elif $n == 0 then [] else .[:$n - 1] + [.[$n - 1:] | join($by)] end;
def expr_indexOf($v; $part): expr_text($part) as $part | expr_text($v) | if $part == "" then 0 else split($part) | if length < 2 then -1 else .[0] | length end end;
def expr_lastIndexOf($v; $part): expr_text($part) as $part | expr_text($v) | if $part == "" then length else length as $all | split($part) | if length < 2 then -1 else $all - (last | length) - ($part | length) end end;
def expr_join($xs; $by): expr_text($by) as $by | expr_list($xs) | map(expr_text(.)) | join($by);
def expr_join($xs): expr_join($xs; "");
def expr_replace($v; $old; $new): expr_text($old) as $old | expr_text($new) as $new | expr_text($v) | if $old == "" then $new + (split("") | map(. + $new) | add // "") else split($old) | join($new) end;
def expr_repeat($v; $n): expr_whole($n) as $n | expr_text($v) | if $n < 0 or $n * length > 1000000 then error("repeat() makes at most 1000000 characters") else . as $v | [range($n) | $v] | join("") end;
def expr_keys($v): expr_object($v) | keys;
def expr_values($v): expr_object($v) | [keys[] as $key | .[$key]];
def expr_toPairs($v): expr_object($v) | [keys[] as $key | [$key, .[$key]]];
def expr_fromPairs($xs): reduce (expr_list($xs) | .[]) as $pair ({}; . + {(expr_text(expr_list($pair) | .[0])): $pair[1]});
def expr_first($xs): expr_list($xs) | .[0];
def expr_last($xs): expr_list($xs) | .[-1];
def expr_take($xs; $n): if expr_whole($n) < 0 then error("take() cannot take \($n) elements") else expr_list($xs) | .[:$n] end;
def expr_reverse($xs): expr_list($xs) | reverse;
def expr_sort($xs): expr_list($xs) | if all(.[]; type == "number") or all(.[]; type == "string") then sort else error("sort() takes numbers, or strings, not both or others") end;
def expr_sort($xs; $order): if $order == "asc" then expr_sort($xs) elif $order == "desc" then expr_sort($xs) | reverse else error("sort() sorts \"asc\" or \"desc\"") end;
def expr_uniq($xs): reduce (expr_list($xs) | .[]) as $x ([]; if any(.[]; . == $x) then . else . + [$x] end);
def expr_concat($xs): [$xs[] | expr_list(.) | .[]];
def expr_flatten($xs): expr_list($xs) | flatten;
def expr_len($v): $v | if type | IN("string", "array", "object") then length else error("len() of \(expr_kind) is not possible") end;
def expr_get($v; $key): $v | if type == "object" and ($key | type) == "string" then .[$key] elif type == "array" and ($key | type) == "number" then .[$key | floor] else null end;
def expr_toJSON($v): $v | tojson;
def expr_fromJSON($v): expr_text($v) | try fromjson catch error("fromJSON() cannot read its text: \(.)");
def expr_toBase64($v): expr_text($v) | @base64;
def expr_fromBase64($v): expr_text($v) | @base64d;
"""

NAME = re.compile(r"def (expr_\w+)")
DEFINED: Final = [(NAME.match(line).group(1), line) for line in DEFINITIONS.strip().split("\n")]  # type: ignore[union-attr]  # each line is a definition


def definitions(program: str) -> str:
    """The definitions that a program needs, directly or through others."""
    needed: list[str] = []
    names = set(re.findall(r"expr_\w+", program))
    for name, definition in reversed(DEFINED):
        if name in names:
            names.update(re.findall(r"expr_\w+", definition))
            needed.append(definition)
    return "\n".join(reversed(needed))
