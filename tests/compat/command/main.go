// Command keyfactor makes the calls of the vendor's Go SDK that the tests name, one a line, and tells what came of each.
//
// The SDK writes https into every URL. Its configuration takes an HTTP client, so the transport writes http back: see
// the README, "The Keyfactor dialect".
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"

	"github.com/Keyfactor/keyfactor-go-client-sdk/api/keyfactor"
)

const requestedWith = "APIClient"

// A call that a test asks for, with whatever it needs.
type call struct {
	Host, Username, Password, Domain string
	Operation                        string
	ID                               string
	Name                             string
	Query, Sort                      *string
	Page, Limit, Direction, Version  *int32
	Exportable                       *bool
	Body                             json.RawMessage
}

// What came of it: what the SDK made of the answer, and the answer.
type told struct {
	Value   any
	Error   string
	Status  int
	Headers http.Header
	Body    string
}

// The recipe: plain http through a transport of one's own.
type plainly struct{}

func (plainly) RoundTrip(request *http.Request) (*http.Response, error) {
	request.URL.Scheme = "http"
	return http.DefaultTransport.RoundTrip(request)
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	answers := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var wanted call
		if err := json.Unmarshal(lines.Bytes(), &wanted); err != nil {
			panic(err)
		}
		if err := answers.Encode(made(wanted)); err != nil {
			panic(err)
		}
	}
}

func client(wanted call) *keyfactor.APIClient {
	configuration := keyfactor.NewConfiguration(map[string]string{
		"host": wanted.Host, "username": wanted.Username, "password": wanted.Password, "domain": wanted.Domain,
	})
	configuration.HTTPClient = &http.Client{Transport: plainly{}}
	return keyfactor.NewAPIClient(configuration)
}

// made makes a call. The typed errors of the SDK hold the body of the answer; its own reader has read it otherwise.
func made(wanted call) told {
	value, answer, err := operation(client(wanted), wanted)
	found := told{Value: value}
	if answer != nil {
		body, _ := io.ReadAll(answer.Body)
		found.Status, found.Headers, found.Body = answer.StatusCode, answer.Header, string(body)
	}
	if err != nil {
		found.Value, found.Error = nil, err.Error()
	}
	return found
}

func operation(api *keyfactor.APIClient, wanted call) (any, *http.Response, error) {
	if value, answer, err, known := ofInstances(api, wanted); known {
		return value, answer, err
	}
	return ofDefinitions(api, wanted)
}

func ofInstances(api *keyfactor.APIClient, wanted call) (any, *http.Response, error, bool) {
	instances, here := api.WorkflowInstanceApi, context.Background()
	switch wanted.Operation {
	case "Query":
		request := instances.WorkflowInstanceQuery(here).XKeyfactorRequestedWith(requestedWith).XKeyfactorApiVersion("1")
		each(wanted.Query, func(text string) { request = request.PqQueryString(text) })
		each(wanted.Sort, func(text string) { request = request.PqSortField(text) })
		each(wanted.Page, func(number int32) { request = request.PqPageReturned(number) })
		each(wanted.Limit, func(number int32) { request = request.PqReturnLimit(number) })
		each(wanted.Direction, func(number int32) { request = request.PqSortAscending(number) })
		value, answer, err := request.Execute()
		return value, answer, err, true
	case "AssignedToMe":
		request := instances.WorkflowInstanceQueryInstancesAssignedToMe(here).XKeyfactorRequestedWith(requestedWith)
		each(wanted.Query, func(text string) { request = request.PqQueryString(text) })
		value, answer, err := request.Execute()
		return value, answer, err, true
	case "My":
		request := instances.WorkflowInstanceQueryInstancesStartedByMe(here).XKeyfactorRequestedWith(requestedWith)
		each(wanted.Query, func(text string) { request = request.InstanceQueryQueryString(text) })
		each(wanted.Limit, func(number int32) { request = request.InstanceQueryReturnLimit(number) })
		value, answer, err := request.Execute()
		return value, answer, err, true
	case "Get":
		value, answer, err := instances.WorkflowInstanceGet(here, wanted.ID).XKeyfactorRequestedWith(requestedWith).Execute()
		return value, answer, err, true
	case "Delete":
		answer, err := instances.WorkflowInstanceDeleteInstance(here, wanted.ID).XKeyfactorRequestedWith(requestedWith).Execute()
		return nil, answer, err, true
	case "Restart":
		request := instances.WorkflowInstanceRestart(here, wanted.ID).XKeyfactorRequestedWith(requestedWith)
		each(wanted.Version, func(number int32) { request = request.Version(number) })
		answer, err := request.Execute()
		return nil, answer, err, true
	case "Stop":
		answer, err := instances.WorkflowInstanceStop(here, wanted.ID).XKeyfactorRequestedWith(requestedWith).Execute()
		return nil, answer, err, true
	case "Signal":
		// The SDK types Data as an object of objects; what it cannot say goes through its additional properties.
		signal := keyfactor.NewKeyfactorApiModelsWorkflowsSignalRequest()
		filled(wanted.Body, signal)
		answer, err := instances.WorkflowInstanceSignal(here, wanted.ID).
			XKeyfactorRequestedWith(requestedWith).Signal(*signal).Execute()
		return nil, answer, err, true
	}
	return nil, nil, nil, false
}

func ofDefinitions(api *keyfactor.APIClient, wanted call) (any, *http.Response, error) {
	definitions, here := api.WorkflowDefinitionApi, context.Background()
	switch wanted.Operation {
	case "Definitions":
		request := definitions.WorkflowDefinitionQuery(here).XKeyfactorRequestedWith(requestedWith)
		each(wanted.Query, func(text string) { request = request.QueryQueryString(text) })
		return value(request.Execute())
	case "Steps":
		return value(definitions.WorkflowDefinitionQueryAvailableSteps(here).XKeyfactorRequestedWith(requestedWith).Execute())
	case "Step":
		return value(definitions.WorkflowDefinitionGetStepSchema(here, wanted.Name).XKeyfactorRequestedWith(requestedWith).Execute())
	case "Types":
		return value(definitions.WorkflowDefinitionQueryWorkflowTypes(here).XKeyfactorRequestedWith(requestedWith).Execute())
	case "Create":
		var new keyfactor.KeyfactorApiModelsWorkflowsDefinitionCreateRequest
		filled(wanted.Body, &new)
		return value(definitions.WorkflowDefinitionCreateNewDefinition(here).
			XKeyfactorRequestedWith(requestedWith).Request(new).Execute())
	case "Update":
		var changed keyfactor.KeyfactorApiModelsWorkflowsDefinitionUpdateRequest
		filled(wanted.Body, &changed)
		return value(definitions.WorkflowDefinitionUpdateExistingDefinition(here, wanted.ID).
			XKeyfactorRequestedWith(requestedWith).Request(changed).Execute())
	case "ConfigureSteps":
		var plain []map[string]any
		if err := json.Unmarshal(wanted.Body, &plain); err != nil {
			panic(err)
		}
		steps := []keyfactor.KeyfactorApiModelsWorkflowsDefinitionStepRequest{}
		for _, one := range plain {
			// Parameters are typed as objects of objects too.
			step := keyfactor.NewKeyfactorApiModelsWorkflowsDefinitionStepRequest()
			step.AdditionalProperties = one
			steps = append(steps, *step)
		}
		return value(definitions.WorkflowDefinitionConfigureDefinitionSteps(here, wanted.ID).
			XKeyfactorRequestedWith(requestedWith).Request(steps).Execute())
	case "Definition":
		request := definitions.WorkflowDefinitionGet(here, wanted.ID).XKeyfactorRequestedWith(requestedWith)
		each(wanted.Version, func(number int32) { request = request.DefinitionVersion(number) })
		each(wanted.Exportable, func(flag bool) { request = request.Exportable(flag) })
		return value(request.Execute())
	case "Publish":
		return value(definitions.WorkflowDefinitionPublishDefinition(here, wanted.ID).XKeyfactorRequestedWith(requestedWith).Execute())
	case "DeleteDefinition":
		answer, err := definitions.WorkflowDefinitionDelete(here, wanted.ID).XKeyfactorRequestedWith(requestedWith).Execute()
		return nil, answer, err
	}
	panic("no such operation: " + wanted.Operation)
}

// each does something with what is there.
func each[Kind any](given *Kind, do func(Kind)) {
	if given != nil {
		do(*given)
	}
}

// filled puts a body into a model of the SDK, past the types that it gives to the members of free objects.
func filled(body json.RawMessage, model any) {
	var plain map[string]any
	if err := json.Unmarshal(body, &plain); err != nil {
		panic(err)
	}
	data, free := plain["Data"]
	delete(plain, "Data")
	rest, _ := json.Marshal(plain)
	if err := json.Unmarshal(rest, model); err != nil {
		panic(err)
	}
	if signal, is := model.(*keyfactor.KeyfactorApiModelsWorkflowsSignalRequest); is && free {
		signal.AdditionalProperties = map[string]any{"Data": data}
	}
}

func value[Kind any](found Kind, answer *http.Response, err error) (any, *http.Response, error) {
	return found, answer, err
}
