module github.com/berth-iot/berth

go 1.26
