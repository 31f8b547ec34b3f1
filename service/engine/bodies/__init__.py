"""What each kind of task does (contract 2), one function each, by families; `BODIES` is their registry.

A body gets the advance under way, the task with its frame and place, and the task's own part of the definition. It
returns the raw output, or None when it has to wait: then the frame's `progress` says how far it is, and the same function
is called again with it.
"""

from collections.abc import Mapping

from service.engine.bodies import calls, data, emitting, forks, listening, loops, tries
from service.engine.flow import Body
from service.language.document import (
    Do,
    EmailCall,
    Emit,
    For,
    Fork,
    FunctionCall,
    HttpCall,
    Listen,
    PersonCall,
    Raise,
    RunWorkflow,
    Set,
    Switch,
    Try,
    Wait,
)

BODIES: Mapping[type, Body] = {
    Do: data.do,
    Set: data.set_data,
    Switch: data.switch,
    Wait: data.wait,
    Raise: data.raise_error,
    For: loops.iterate,
    Fork: forks.fork,
    Try: tries.attempt,
    Listen: listening.listen,
    Emit: emitting.emit,
    HttpCall: calls.call_outside,
    EmailCall: calls.call_outside,
    FunctionCall: calls.call_function,
    PersonCall: calls.ask_person,
    RunWorkflow: calls.run_workflow,
}
