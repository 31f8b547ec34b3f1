// Drives Formance's SDK for the tests: one JSON line in is one call, one JSON line out is what came of it.
// Nothing is judged here. Dates go out as {"$date": …} and integers as {"$bigint": …}: a test can tell parsed ones.

import { createInterface } from "node:readline";

import { SDK } from "@formance/formance-sdk";
import { HTTPClient } from "@formance/formance-sdk/lib/http.js";

const ABOUT = new Set(["contentType", "statusCode", "rawResponse"]); // the fields of an answer that are not its content
const clients = new Map(); // each keeps its tokens

function plain(value) {
  if (value instanceof Date) return { $date: value.toISOString() };
  if (typeof value === "bigint") return { $bigint: String(value) };
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, plain(one)]));
}

function refusal(error) {
  return {
    kind: error.constructor.name,
    message: String(error.message).slice(0, 2000),
    status: error.statusCode,
    content_type: error.contentType,
    body: error.body,
    data: { errorCode: error.errorCode, errorMessage: error.errorMessage }, // the typed error's own fields
  };
}

// With a token of the test's own the SDK fetches none.
function client({ serverURL, clientID, clientSecret, token }) {
  const key = JSON.stringify([serverURL, clientID, clientSecret, token]);
  if (!clients.has(key)) {
    const httpClient = new HTTPClient();
    if (token !== undefined) {
      httpClient.addHook("beforeRequest", (request) => request.headers.set("authorization", `Bearer ${token}`));
    }
    const security = token === undefined ? { clientID, clientSecret } : undefined;
    clients.set(key, new SDK({ serverURL, security, httpClient }));
  }
  return clients.get(key);
}

async function answer({ version, operation, request, ...who }) {
  const methods = client(who).orchestration[version];
  try {
    const told = request === undefined ? await methods[operation]() : await methods[operation](request);
    const content = Object.keys(told).filter((name) => !ABOUT.has(name));
    return { value: { status: told.statusCode, content: plain(told[content[0]]) } };
  } catch (error) {
    return { refusal: refusal(error) };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`);
}
