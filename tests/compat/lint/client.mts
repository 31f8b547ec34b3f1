// A client that is generated from the document alone: it must compile, and drive the service.

import createClient from "openapi-fetch";

import type { components, paths } from "./maestro.js";

type Instance = components["schemas"]["WorkflowInstance"];

const [baseUrl, token, accountId, workflowId] = process.argv.slice(2) as [string, string, string, string];
const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });
const path = { accountId, workflowId };

async function completed(instanceId: string): Promise<Instance> {
  for (;;) {
    const { data, error } = await client.GET("/v1/accounts/{accountId}/workflows/{workflowId}/instances/{instanceId}", {
      params: { path: { ...path, instanceId } },
    });
    if (error) throw new Error(`${error.status} ${error.title}: ${error.detail}`);
    if (data.workflow_status !== "In Progress") return data;
    await new Promise((resume) => setTimeout(resume, 20));
  }
}

const listed = await client.GET("/v1/accounts/{accountId}/workflows", {
  params: { path: { accountId }, query: { status: "active", page_size: 10 } },
});
const names: string[] = listed.data?.data.map((workflow) => workflow.name) ?? [];

const started = await client.POST("/v1/accounts/{accountId}/workflows/{workflowId}/actions/trigger", {
  params: { path },
  body: { instance_name: "generated", trigger_inputs: { customer: "Ada", copies: 2 } },
});
if (!started.data) throw new Error(started.error.detail);
const instance = await completed(started.data.instance_id);
const ended: string | null = instance.ended_at;

const refused = await client.POST("/v1/accounts/{accountId}/workflows/{workflowId}/actions/trigger", {
  params: { path },
  body: { instance_name: "generated", trigger_inputs: {} },
});
const targets = refused.error?.errors?.map((one) => one.target ?? "");

console.log(JSON.stringify({ names, status: instance.workflow_status, ended, output: instance.output, targets }));
