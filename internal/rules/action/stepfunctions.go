package action

import "context"

var statesService = &service{"SFN", "states", "states", "AWSStepFunctions", json10}

// maxExecution is the longest name of an execution.
const maxExecution = 80

// StepFunctions starts a state machine with the result.
type StepFunctions struct {
	ExecutionNamePrefix string `json:"executionNamePrefix,omitempty"`
	StateMachineName    string `json:"stateMachineName,omitempty"`
	RoleARN             string `json:"roleArn,omitempty"`
}

// Validate implements Action.
func (f *StepFunctions) Validate() error {
	return required("stepFunctions", "roleArn", f.RoleARN, "stateMachineName", f.StateMachineName)
}

// Destination implements Action.
func (f *StepFunctions) Destination() string { return f.StateMachineName }

// Do implements Action. The execution is named after the delivery, so that a second try finds it
// started and starts no other.
func (f *StepFunctions) Do(ctx context.Context, s *Services, m *Message) error {
	if m.Binary {
		return refuse("stepFunctions: the result is not JSON")
	}
	name := f.ExecutionNamePrefix
	if over := len(name) + len(m.ID) - maxExecution; over > 0 {
		name = name[:max(0, len(name)-over)]
	}
	region := s.AWS.region()
	part, _ := partition(region)
	account := ""
	if s.AWS != nil {
		account = s.AWS.Account
	}
	err := s.AWS.ask(ctx, statesService, "StartExecution", map[string]string{
		"stateMachineArn": "arn:" + part + ":states:" + region + ":" + account + ":stateMachine:" + f.StateMachineName,
		"name":            name + m.ID, "input": string(m.Payload)}, nil)
	if isException(err, "ExecutionAlreadyExists") {
		return nil
	}
	return failure("stepFunctions", err)
}
