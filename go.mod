module github.com/berth-iot/berth

go 1.26

require github.com/aws/aws-sdk-go-v2 v1.41.0

require github.com/aws/smithy-go v1.24.0 // indirect
