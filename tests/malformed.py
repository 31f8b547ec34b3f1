"""Bodies that nobody should have to take: what is no JSON object, and values that cannot be stored or read back."""

DEEP = 100_000

NO_JSON = {
    "nothing": b"",
    "the beginning of an object": b'{"instance_name": "a',
    "an array": b"[]",
    "null": b"null",
    "text": b'"instance_name"',
    "a number": b"1",
    "an empty object": b"{}",
    "two values": b"{} {}",
    "single quotes": b"{'instance_name': 'a'}",
    "a comment": b"{} // done",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"instance_name": "a"}'.encode("utf-16"),
    "bytes that are not UTF-8": b'{"instance_name": "\xff\xfe"}',
    "a raw NUL": b'{"instance_name": "\x00"}',
    "NaN": b'{"instance_name": NaN}',
    "deep arrays": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "arrays without end": b"[" * DEEP,
    "a form": b"instance_name=a&trigger_inputs=b",
}
VALUES = {
    "NUL": b'"a\\u0000b"',
    "NUL in a key": b'{"a\\u0000b": 1}',
    "half of a surrogate pair": b'"\\ud800"',
    "half of a surrogate pair in a key": b'{"\\udfff": 1}',
    "bytes that are not UTF-8": b'"\xc3\x28"',
    "an integer of 400 digits": b"1" + b"0" * 400,
    "an integer of 5,000 digits": b"1" + b"0" * 5000,
    "a number beyond all others": b"1e999",
    "deep arrays": b"[" * DEEP + b"]" * DEEP,
    "arrays a little too deep": b"[" * 700 + b"]" * 700,
}
