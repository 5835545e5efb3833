package action

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// DynamoDB writes the result into one attribute of an item.
type DynamoDB struct {
	TableName     string `json:"tableName,omitempty"`
	RoleARN       string `json:"roleArn,omitempty"`
	Operation     string `json:"operation,omitempty"` // INSERT (default), UPDATE or DELETE
	HashKeyField  string `json:"hashKeyField,omitempty"`
	HashKeyValue  string `json:"hashKeyValue,omitempty"`
	HashKeyType   string `json:"hashKeyType,omitempty"` // STRING (default) or NUMBER
	RangeKeyField string `json:"rangeKeyField,omitempty"`
	RangeKeyValue string `json:"rangeKeyValue,omitempty"`
	RangeKeyType  string `json:"rangeKeyType,omitempty"`
	PayloadField  string `json:"payloadField,omitempty"` // default payload
}

// Validate implements Action.
func (d *DynamoDB) Validate() error {
	if err := required("dynamoDB", "tableName", d.TableName, "roleArn", d.RoleARN, "hashKeyField", d.HashKeyField, "hashKeyValue", d.HashKeyValue); err != nil {
		return err
	}
	switch op := strings.ToUpper(d.Operation); {
	case op == "", op == "INSERT", op == "UPDATE", op == "DELETE", strings.Contains(op, "${"):
	default:
		return refuse("dynamoDB: operation is %q, not INSERT, UPDATE or DELETE", d.Operation)
	}
	for _, t := range []string{d.HashKeyType, d.RangeKeyType} {
		if t != "" && t != "STRING" && t != "NUMBER" {
			return refuse("dynamoDB: the type of a key is %q, not STRING or NUMBER", t)
		}
	}
	if (d.RangeKeyField == "") != (d.RangeKeyValue == "") {
		return refuse("dynamoDB: rangeKeyField and rangeKeyValue go together")
	}
	return nil
}

// Destination implements Action.
func (d *DynamoDB) Destination() string { return d.TableName }

func keyValue(kind, value string) types.AttributeValue {
	if kind == "NUMBER" {
		return &types.AttributeValueMemberN{Value: value}
	}
	return &types.AttributeValueMemberS{Value: value}
}

// Do implements Action.
func (d *DynamoDB) Do(ctx context.Context, s *Services, m *Message) error {
	cfg, err := s.AWS.config(ctx, "")
	if err != nil {
		return failure("dynamoDB", err)
	}
	api := dynamodb.NewFromConfig(cfg)
	item := map[string]types.AttributeValue{d.HashKeyField: keyValue(d.HashKeyType, d.HashKeyValue)}
	if d.RangeKeyField != "" {
		item[d.RangeKeyField] = keyValue(d.RangeKeyType, d.RangeKeyValue)
	}
	field := d.PayloadField
	if field == "" {
		field = "payload"
	}
	var payload types.AttributeValue = &types.AttributeValueMemberB{Value: m.Payload}
	if !m.Binary {
		if payload, err = attribute(m.Payload); err != nil {
			return refuse("dynamoDB: %w", err)
		}
	}
	switch strings.ToUpper(d.Operation) {
	case "", "INSERT":
		item[field] = payload
		_, err = api.PutItem(ctx, &dynamodb.PutItemInput{TableName: &d.TableName, Item: item})
	case "UPDATE":
		_, err = api.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: &d.TableName, Key: item, UpdateExpression: aws.String("SET #p = :p"),
			ExpressionAttributeNames: map[string]string{"#p": field}, ExpressionAttributeValues: map[string]types.AttributeValue{":p": payload}})
	case "DELETE":
		_, err = api.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: &d.TableName, Key: item})
	default:
		return refuse("dynamoDB: operation is %q, not INSERT, UPDATE or DELETE", d.Operation)
	}
	return failure("dynamoDB", err)
}

// DynamoDBv2 writes each member of the result into an attribute of its own.
type DynamoDBv2 struct {
	RoleARN string   `json:"roleArn,omitempty"`
	PutItem *PutItem `json:"putItem,omitempty"`
}

// PutItem names the table.
type PutItem struct {
	TableName string `json:"tableName"`
}

// Validate implements Action.
func (d *DynamoDBv2) Validate() error {
	if d.PutItem == nil {
		return required("dynamoDBv2", "putItem", "")
	}
	return required("dynamoDBv2", "roleArn", d.RoleARN, "putItem.tableName", d.PutItem.TableName)
}

// Destination implements Action.
func (d *DynamoDBv2) Destination() string {
	if d.PutItem == nil {
		return ""
	}
	return d.PutItem.TableName
}

// Do implements Action.
func (d *DynamoDBv2) Do(ctx context.Context, s *Services, m *Message) error {
	cfg, err := s.AWS.config(ctx, "")
	if err != nil {
		return failure("dynamoDBv2", err)
	}
	value, err := attribute(m.Payload)
	if err != nil {
		return refuse("dynamoDBv2: %w", err)
	}
	item, ok := value.(*types.AttributeValueMemberM)
	if !ok || m.Binary {
		return refuse("dynamoDBv2: the result is not a JSON object")
	}
	_, err = dynamodb.NewFromConfig(cfg).PutItem(ctx, &dynamodb.PutItemInput{TableName: &d.PutItem.TableName, Item: item.Value})
	return failure("dynamoDBv2", err)
}

// attribute turns JSON into a value of DynamoDB; numbers keep their digits.
func attribute(b []byte) (types.AttributeValue, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil && err != io.EOF {
		return nil, err
	}
	return attributeOf(v), nil
}

func attributeOf(v any) types.AttributeValue {
	switch v := v.(type) {
	case string:
		return &types.AttributeValueMemberS{Value: v}
	case json.Number:
		return &types.AttributeValueMemberN{Value: v.String()}
	case bool:
		return &types.AttributeValueMemberBOOL{Value: v}
	case []any:
		list := make([]types.AttributeValue, len(v))
		for i := range v {
			list[i] = attributeOf(v[i])
		}
		return &types.AttributeValueMemberL{Value: list}
	case map[string]any:
		m := make(map[string]types.AttributeValue, len(v))
		for name := range v {
			m[name] = attributeOf(v[name])
		}
		return &types.AttributeValueMemberM{Value: m}
	}
	return &types.AttributeValueMemberNULL{Value: true}
}

// GetItem reads the item with the keys, each a JSON string or number, as a plain JSON object; nil if
// there is none.
func (a *AWS) GetItem(ctx context.Context, table string, keys map[string][]byte) ([]byte, error) {
	cfg, err := a.config(ctx, "")
	if err != nil {
		return nil, err
	}
	in := &dynamodb.GetItemInput{TableName: &table, Key: make(map[string]types.AttributeValue)}
	for name, v := range keys {
		if in.Key[name], err = attribute(v); err != nil {
			return nil, err
		}
	}
	out, err := dynamodb.NewFromConfig(cfg).GetItem(ctx, in)
	if err != nil {
		return nil, failure("get_dynamodb", err)
	}
	return json.Marshal(plain(&types.AttributeValueMemberM{Value: out.Item}))
}

// plain is the opposite of attributeOf; sets become arrays.
func plain(v types.AttributeValue) any {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return v.Value
	case *types.AttributeValueMemberN:
		return json.Number(v.Value)
	case *types.AttributeValueMemberBOOL:
		return v.Value
	case *types.AttributeValueMemberB:
		return v.Value
	case *types.AttributeValueMemberSS:
		return v.Value
	case *types.AttributeValueMemberNS:
		list := make([]json.Number, len(v.Value))
		for i, n := range v.Value {
			list[i] = json.Number(n)
		}
		return list
	case *types.AttributeValueMemberL:
		list := make([]any, len(v.Value))
		for i := range v.Value {
			list[i] = plain(v.Value[i])
		}
		return list
	case *types.AttributeValueMemberM:
		m := make(map[string]any, len(v.Value))
		for name := range v.Value {
			m[name] = plain(v.Value[name])
		}
		return m
	}
	return nil
}
