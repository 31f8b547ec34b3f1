// Drives the vendor's SDK for the tests: one JSON line in is one call, one JSON line out is what came of it.
// Nothing is judged here. Dates go out as {"$date": …}, so that a test can tell a parsed one from a string.

import { createInterface } from "node:readline";

import { IamClient } from "@docusign/iam-sdk";

function plain(value) {
  if (value instanceof Date) return { $date: value.toISOString() };
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, plain(one)]));
}

function refusal(error) {
  return {
    kind: error.constructor.name,
    name: error.name,
    message: String(error.message).slice(0, 2000),
    status: error.statusCode,
    content_type: error.contentType,
    body: error.body,
    data: plain({ error: error.error, code: error.code, timestamp: error.timestamp }), // the typed error's own fields
  };
}

async function answer({ serverURL, accessToken, group, operation, request, retries }) {
  // Without retries a failure is told at once; with the SDK's own it would be hidden for half a minute.
  const retryConfig = retries ? undefined : { strategy: "none" };
  const client = new IamClient({ serverURL, accessToken, retryConfig });
  try {
    return { value: plain(await client.maestro[group][operation](request)) };
  } catch (error) {
    return { refusal: refusal(error) };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`);
}
