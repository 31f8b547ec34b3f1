// How a client in Node.js is driven by the tests: one JSON line in is one call, one JSON line out is what came of it.
// Nothing is judged here.

import { createInterface } from "node:readline";

// Dates go out as {"$date": …} and integers as {"$bigint": …}: a test can tell parsed ones.
export function plain(value) {
  if (value instanceof Date) return { $date: value.toISOString() };
  if (typeof value === "bigint") return { $bigint: String(value) };
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, plain(one)]));
}

function refusal(error, data) {
  return {
    kind: error.constructor.name,
    message: String(error.message).slice(0, 2000),
    status: error.statusCode ?? error.status,
    content_type: error.contentType,
    body: error.body,
    data: plain(data),
  };
}

async function answer(call, fields, request) {
  try {
    return { value: await call(request) };
  } catch (error) {
    return { refusal: refusal(error, fields(error)) };
  }
}

// Makes every call that is asked for; `fields` takes from an error what only errors of its type have.
export async function answerCalls(call, fields) {
  for await (const line of createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await answer(call, fields, JSON.parse(line)))}\n`);
  }
}
