// Drives what the vendor's SDK has for logging in: one JSON line in is one call, one JSON line out is what came of it.
// Nothing is judged here.

import { createInterface } from "node:readline";

import { AuthUtils, IamClient } from "@docusign/iam-sdk";

function refusal(error) {
  return {
    kind: error.constructor.name,
    message: String(error.message).slice(0, 2000),
    status: error.statusCode,
    content_type: error.contentType,
    body: error.body,
    data: { error: error.error, errorDescription: error.errorDescription }, // the typed error's own fields
  };
}

async function answer({ accessToken, operation, parameters }) {
  // Without retries a failure is told at once; with them the SDK would hide it for half a minute.
  const client = new IamClient({ accessToken, retryConfig: { strategy: "none" } });
  try {
    const value = operation in AuthUtils
      ? AuthUtils[operation](...parameters)
      : await client.auth[operation](...parameters);
    return { value };
  } catch (error) {
    return { refusal: refusal(error) };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`);
}
