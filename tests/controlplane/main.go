// Command controlplane is a real Kubernetes control plane in one binary, for
// tests and the demo: etcd, kube-apiserver and the garbage-collector, namespace
// and service-account controllers of kube-controller-manager, plus kubectl.
//
//	controlplane serve --dir DIR    run everything until a signal (or, with
//	                                --until-stdin-closes, end of input)
//	controlplane kubectl …          kubectl of the same version
//
// serve re-executes this binary once per component: the components share
// process-wide flag and metric registries and cannot live in one process.
// There is no kubelet and no scheduler; pods stay Pending.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

// components maps a subcommand to the cobra command that it becomes.
var components = map[string]func() *cobra.Command{
	"etcd":                    newEtcdCommand,
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllers.NewControllerManagerCommand,
	"kubectl":                 kubectl.NewDefaultKubectlCommand,
	"serve":                   newServeCommand,
}

func main() {
	if len(os.Args) < 2 || components[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: controlplane serve --dir DIR | kubectl …")
		os.Exit(2)
	}
	name := os.Args[1]
	// kubectl reads os.Args while it is constructed, so the subcommand goes first.
	os.Args = append([]string{name}, os.Args[2:]...)
	command := components[name]()
	if name == "kubectl" {
		if err := cli.RunNoErrOutput(command); err != nil {
			util.CheckErr(err)
		}
		return
	}
	os.Exit(cli.Run(command))
}
