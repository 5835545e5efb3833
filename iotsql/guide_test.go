package iotsql

import (
	"strings"
	"testing"
)

// TestFunctionsOfTheGuide holds the list of the developer guide's page "Functions", and of those that
// later versions of it have.
func TestFunctionsOfTheGuide(t *testing.T) {
	t.Parallel()
	for name := range strings.FieldsSeq(`abs accountid acos asin atan atan2 aws_lambda bitand bitor bitxor bitnot cast ceil chr clientid concat cos
		cosh decode encode endswith exp floor get get_dynamodb get_mqtt_property get_or_default get_registry_data get_secret get_thing_shadow
		get_user_properties md2 md5 sha1 sha224 sha256 sha384 sha512 indexof isNull isUndefined length ln log lower lpad ltrim mod nanvl newuuid
		numbytes parse_time power principal rand regexp_matches regexp_replace regexp_substr remainder replace rpad round rtrim sign sin sinh
		sourceip sql_version sqrt startswith substring tan tanh time_to_epoch timestamp topic traceid transform trim trunc upper`) {
		if _, ok := functions[strings.ToLower(name)]; !ok && name != "cast" {
			t.Errorf("no function %s", name)
		}
	}
	for _, sql := range []string{"SELECT cast(a AS Int) FROM 'a'", "SELECT cast(a AS Decimal) FROM 'a'", "SELECT cast(a AS Bool) FROM 'a'"} {
		if _, err := Parse(sql, V2016); err != nil {
			t.Error(err)
		}
	}
	if _, err := Parse("SELECT machinelearning_predict('m', 'r', *) FROM 'a'", V2016); err == nil || !strings.Contains(err.Error(), "not supported") {
		t.Error(err)
	}
}
