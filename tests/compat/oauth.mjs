// Drives what the vendor's SDK has for logging in, for the tests.

import { AuthUtils, IamClient } from "@docusign/iam-sdk";

import { answerCalls } from "./calls.mjs";

async function call({ accessToken, operation, parameters }) {
  // Without retries a failure is told at once; with them the SDK would hide it for half a minute.
  const client = new IamClient({ accessToken, retryConfig: { strategy: "none" } });
  return operation in AuthUtils ? AuthUtils[operation](...parameters) : client.auth[operation](...parameters);
}

await answerCalls(call, ({ error, errorDescription }) => ({ error, errorDescription }));
