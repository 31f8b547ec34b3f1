// Drives Formance's SDK for the tests.

import { SDK } from "@formance/formance-sdk";
import { HTTPClient } from "@formance/formance-sdk/lib/http.js";

import { answerCalls, plain } from "./calls.mjs";

const ABOUT = new Set(["contentType", "statusCode", "rawResponse"]); // the fields of an answer that are not its content
const clients = new Map(); // each keeps its tokens

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

async function call({ version, operation, request, ...who }) {
  const methods = client(who).orchestration[version];
  const told = request === undefined ? await methods[operation]() : await methods[operation](request);
  const content = Object.keys(told).filter((name) => !ABOUT.has(name));
  return { status: told.statusCode, content: plain(told[content[0]]) };
}

await answerCalls(call, ({ errorCode, errorMessage }) => ({ errorCode, errorMessage }));
