package cli

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-iot/berth/internal/admin"
	"github.com/berth-iot/berth/internal/password"
)

func userCommand() *cobra.Command {
	t := new(target)
	cmd := group(&cobra.Command{
		Use:   "user",
		Short: "Users who log in with a name and a password",
		Long: `Users who log in with a name and a password, for MQTT clients without certificates, with TLS or on
--mqtt-plain. Each is tied to policies, in which ${berth:UserName} is the user's name.`,
		Example: "  berth user put anna --policy sensors --password-file anna.txt\n  berth user list",
	}, userPutCommand(t), userListCommand(t), userDeleteCommand(t))
	t.addFlags(cmd)
	return cmd
}

func userPath(name string) string { return "/berth/users/" + url.PathEscape(name) }

func userPutCommand(t *target) *cobra.Command {
	var in admin.NewUser
	var file string
	cmd := &cobra.Command{
		Use:   "put NAME",
		Short: "Make a user, or change its password or policies",
		Example: `  berth user put anna --policy sensors --password-file anna.txt
  berth user put anna --policy sensors --policy lamps
  echo "$PASSWORD" | berth user put anna --policy sensors --password-file -`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(in.Policies) == 0 {
				return usagef("give --policy")
			}
			if file != "" {
				b, err := input(cmd, file)
				if err != nil {
					return err
				}
				if in.Password = string(bytes.TrimRight(b, "\r\n")); in.Password == "" {
					return errors.New("--password-file: the password is empty")
				}
			}
			var v password.User
			if err := t.own(cmd.Context(), http.MethodPut, userPath(args[0]), in, &v); err != nil {
				return fmt.Errorf("put user %q: %w", args[0], err)
			}
			return report(cmd, v, "user %s has the policies %s", v.Name, strings.Join(v.Policies, ", "))
		},
	}
	cmd.Flags().StringSliceVar(&in.Policies, "policy", nil, "policy that says what the user may do, repeatable")
	cmd.Flags().StringVar(&file, "password-file", "", "`FILE` with the password in its only line, - for standard input; without it the user keeps its password")
	return cmd
}

func userListCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List users",
		Example: "  berth user list",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var v struct {
				Users []password.User `json:"users"`
			}
			if err := t.own(cmd.Context(), http.MethodGet, "/berth/users", nil, &v); err != nil {
				return fmt.Errorf("list users: %w", err)
			}
			tab := table{header: []string{"NAME", "POLICIES", "CHANGED"}}
			for _, u := range v.Users {
				tab.add(u.Name, strings.Join(u.Policies, ","), timestamp(&u.Modified))
			}
			return emit(cmd, v, tab)
		},
	}
}

func userDeleteCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:     "delete NAME",
		Short:   "Delete a user and end its connections",
		Example: "  berth user delete anna",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := t.own(cmd.Context(), http.MethodDelete, userPath(args[0]), nil, nil); err != nil {
				return fmt.Errorf("delete user %q: %w", args[0], err)
			}
			return report(cmd, map[string]string{"userName": args[0]}, "deleted user %s", args[0])
		},
	}
}
