"""Examples for the document of the Keyfactor dialect; a test holds each against its schema."""

from typing import Any

DEFINITION_ID = "0190f3b4-6a0c-7c3e-9a55-3f8f2d6b1c01"
INSTANCE_ID = "0190f3b5-1d7e-7b9a-8a53-91c5a0e4d202"
STEP_ID = "5b6a0c1e-2f3d-5a4b-9c7d-8e9f0a1b2c3d"
SIGNAL_ID = "0190f3b6-3b1d-7a52-9c0e-6f2b8d4a7707"
CONDITION_ID = "7c8d9e0f-1a2b-5c3d-8e4f-5a6b7c8d9e0f"
BEGAN, CHANGED = "2026-05-04T09:30:00.000Z", "2026-05-04T09:30:01.000Z"

STEPS = [
    {
        "ExtensionName": "NOOPStep",
        "UniqueName": "StartNOOP",
        "DisplayName": "Start-NOOP",
        "Enabled": True,
        "ConfigurationParameters": {},
        "Signals": [],
        "Conditions": [],
        "Outputs": {"continue": "RequireApproval1"},
    },
    {
        "ExtensionName": "RequireApproval",
        "UniqueName": "RequireApproval1",
        "DisplayName": "Require approval",
        "Enabled": True,
        "ConfigurationParameters": {"MinimumApprovals": 1},
        "Signals": [{"SignalName": "ApprovalStatus", "RoleIds": [1, 2]}],
        "Conditions": [{"Value": "True"}],
        "Outputs": {"continue": "EndNOOP"},
    },
    {
        "ExtensionName": "NOOPStep",
        "UniqueName": "EndNOOP",
        "DisplayName": "End-NOOP",
        "Enabled": True,
        "ConfigurationParameters": {},
        "Signals": [],
        "Conditions": [],
        "Outputs": {},
    },
]
OUTLINE = {
    "Id": DEFINITION_ID,
    "DisplayName": "Approve web servers",
    "Key": "17",
    "KeyDisplayName": None,
    "WorkflowType": "Enrollment",
    "DraftVersion": 2,
    "PublishedVersion": 1,
}
DEFINITION = OUTLINE | {
    "Description": "Somebody looks at each certificate first.",
    "IsPublished": False,
    "Enabled": True,
    "Steps": [
        step | {"Id": STEP_ID, "Conditions": [one | {"Id": CONDITION_ID} for one in step["Conditions"]]}  # type: ignore[attr-defined] # a list, as above
        for step in STEPS
    ],
}
LISTED = {
    "Id": INSTANCE_ID,
    "Status": 2,
    "CurrentStepId": STEP_ID,
    "StatusMessage": "Waiting for: Require approval",
    "Definition": {
        "Id": DEFINITION_ID,
        "DisplayName": "Approve web servers",
        "Version": 1,
        "WorkflowType": "Enrollment",
    },
    "CurrentStepDisplayName": "Require approval",
    "CurrentStepUniqueName": "RequireApproval1",
    "Title": "Certificate for www.example.com",
    "LastModified": CHANGED,
    "StartDate": BEGAN,
    "ReferenceId": 819362742345,
}
INSTANCE = LISTED | {
    "Signals": [{"SignalName": "ApprovalStatus", "StepSignalId": SIGNAL_ID, "SignalReceived": False}],
    "InitialData": {"cn": "www.example.com", "Template": 17},
    "CurrentStateData": {"cn": "www.example.com", "Template": 17},
}
PARAMETER = {
    "DisplayName": "Minimum approvals",
    "ParameterType": 1,
    "Required": False,
    "DefaultValue": "1",
    "ControlType": 2,
    "PotentialValues": None,
    "SupportTokenReplacement": False,
    "DependsOn": None,
}
APPROVED = PARAMETER | {"DisplayName": "Approved", "ParameterType": 2, "Required": True, "ControlType": 3}
AVAILABLE = {
    "DisplayName": "Require approval",
    "ExtensionName": "RequireApproval",
    "ConfigurationParametersDefinition": {"MinimumApprovals": PARAMETER},
    "SignalsDefinition": {"ApprovalStatus": {"InputParameters": {"Approved": APPROVED}}},
}
STEP = AVAILABLE | {"Outputs": ["continue"]}

# By the names of the models that routes say they read.
REQUESTS: dict[str, Any] = {
    "SignalRequest": {
        "SignalKey": "RequireApproval1.ApprovalStatus",
        "Data": {"Approved": "True", "Comment": "The name is ours."},
    },
    "RestartRequest": {"Version": 2},
    "DefinitionCreateRequest": {
        "DisplayName": "Approve web servers",
        "Description": "Somebody looks at each certificate first.",
        "Key": "17",
        "WorkflowType": "Enrollment",
    },
    "DefinitionUpdateRequest": {"DisplayName": "Approve web servers", "Description": "Two people look."},
    "DefinitionStepRequests": STEPS,
    "DefinitionEnabled": True,
}
# By the names of the models that are answered.
RESPONSES: dict[str, Any] = {
    "InstanceQueryResponse": LISTED,
    "InstanceResponse": INSTANCE,
    "DefinitionQueryResponse": OUTLINE,
    "DefinitionResponse": DEFINITION,
    "AvailableStepQueryResponse": AVAILABLE | {"SupportedWorkflowTypes": ["Enrollment", "Revocation"]},
    "AvailableStepResponse": STEP,
    "WorkflowTypeQueryResponse": {
        "WorkflowType": "Enrollment",
        "KeyType": "CertificateTemplate",
        "ContextParameters": [],
        "BuiltInSteps": [STEP],
    },
    "Role": {"Id": 1, "Name": "admin", "Description": "Administers the account."},
}
