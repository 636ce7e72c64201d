package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

const (
	host         = "127.0.0.1"
	readyTimeout = 2 * time.Minute
)

// plane is one control plane: where its files are and what it listens on.
type plane struct {
	dir                             string
	apiPort, etcdPort, etcdPeerPort int
	token                           string
}

func newServeCommand() *cobra.Command {
	var dir string
	var port int
	var untilStdinCloses bool
	command := &cobra.Command{Use: "serve", SilenceUsage: true, RunE: func(*cobra.Command, []string) error {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		if untilStdinCloses {
			go func() { io.Copy(io.Discard, os.Stdin); stop() }()
		}
		return serve(ctx, dir, port)
	}}
	command.Flags().StringVar(&dir, "dir", "", "where certificates, data, logs and the kubeconfig go")
	command.Flags().IntVar(&port, "port", 0, "port of the API server on loopback (0: a free one)")
	command.Flags().BoolVar(&untilStdinCloses, "until-stdin-closes", false, "end with whoever started this")
	command.MarkFlagRequired("dir")
	return command
}

// serve starts the components, writes DIR/kubeconfig once the API server and
// the controllers work, prints "ready", and waits for ctx or for a component to end.
func serve(ctx context.Context, dir string, port int) error {
	runtime.LockOSThread() // a child gets its death signal when the thread that started it ends
	p, err := prepare(dir, port)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 3)
	var children sync.WaitGroup
	defer children.Wait() // so that no port or file is still in use
	defer cancel()
	for _, component := range []struct {
		arguments []string
		ready     func(context.Context, <-chan error) error
	}{{p.etcd(), nil}, {p.apiserver(), p.waitForAPI}, {p.controllers(), p.waitForControllers}} {
		child, err := p.start(ctx, component.arguments)
		if err != nil {
			return err
		}
		children.Go(func() {
			name := component.arguments[0]
			ended <- fmt.Errorf("%s ended (%v), see %s", name, child.Wait(), p.path(name+".log"))
		})
		if component.ready == nil {
			continue
		}
		if err := component.ready(ctx, ended); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		return err
	}
}

// prepare makes the directory, the keys and the files that the components read.
func prepare(dir string, port int) (*plane, error) {
	p := &plane{dir: dir, apiPort: port}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for _, target := range []*int{&p.apiPort, &p.etcdPort, &p.etcdPeerPort} {
		if *target != 0 {
			continue
		}
		listener, err := net.Listen("tcp", host+":0")
		if err != nil {
			return nil, err
		}
		defer listener.Close() // held until all are chosen, so that they differ
		*target = listener.Addr().(*net.TCPAddr).Port
	}
	secret := make([]byte, 16)
	rand.Read(secret)
	p.token = hex.EncodeToString(secret)
	bundle, key, err := cert.GenerateSelfSignedCertKey(host, []net.IP{net.ParseIP(host)}, []string{"localhost", "kubernetes.default.svc"})
	if err != nil {
		return nil, err
	}
	signer, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	signerPEM, err := keyutil.MarshalPrivateKeyToPEM(signer)
	if err != nil {
		return nil, err
	}
	return p, errors.Join(
		os.WriteFile(p.path("apiserver.crt"), bundle, 0o600),
		os.WriteFile(p.path("apiserver.key"), key, 0o600),
		os.WriteFile(p.path("service-accounts.key"), signerPEM, 0o600),
		os.WriteFile(p.path("tokens.csv"), []byte(p.token+",admin,admin,system:masters\n"), 0o600),
		clientcmd.WriteToFile(p.config(bundle), p.path("kubeconfig")),
	)
}

func (p *plane) path(name string) string { return filepath.Join(p.dir, name) }

func (p *plane) server() string { return fmt.Sprintf("https://%s:%d", host, p.apiPort) }

func (p *plane) config(ca []byte) clientcmdapi.Config {
	config := clientcmdapi.NewConfig()
	config.Clusters["local"] = &clientcmdapi.Cluster{Server: p.server(), CertificateAuthorityData: ca}
	config.AuthInfos["admin"] = &clientcmdapi.AuthInfo{Token: p.token}
	config.Contexts["local"] = &clientcmdapi.Context{Cluster: "local", AuthInfo: "admin"}
	config.CurrentContext = "local"
	return *config
}

func (p *plane) etcd() []string {
	return []string{"etcd", "--data-dir=" + p.path("etcd"),
		fmt.Sprintf("--listen-client=%s:%d", host, p.etcdPort), fmt.Sprintf("--listen-peer=%s:%d", host, p.etcdPeerPort)}
}

func (p *plane) apiserver() []string {
	return []string{"kube-apiserver",
		fmt.Sprintf("--etcd-servers=http://%s:%d", host, p.etcdPort),
		"--bind-address=" + host, fmt.Sprintf("--secure-port=%d", p.apiPort),
		// The endpoint of the kubernetes service must not be loopback; nothing here uses it.
		"--advertise-address=192.0.2.1", "--endpoint-reconciler-type=none",
		"--tls-cert-file=" + p.path("apiserver.crt"), "--tls-private-key-file=" + p.path("apiserver.key"),
		"--cert-dir=" + p.dir,
		"--token-auth-file=" + p.path("tokens.csv"), "--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + p.path("service-accounts.key"),
		"--service-account-signing-key-file=" + p.path("service-accounts.key"),
		"--service-cluster-ip-range=10.0.0.0/24",
		// As on clusters that forbid to block the deletion of what one may not finalize.
		"--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
		"--allow-privileged=true", "--profiling=false",
		"--audit-policy-file=" + p.auditPolicy(), "--audit-log-path=" + p.path("audit.log"),
	}
}

// auditPolicy has every write and every request of a service account logged, so
// that tests count what a process really asked of the API server.
func (p *plane) auditPolicy() string {
	file := p.path("audit-policy.yaml")
	os.WriteFile(file, []byte(`apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  userGroups: [system:serviceaccounts:kube-system]
- level: Metadata
  userGroups: [system:serviceaccounts]
- level: None
`), 0o600)
	return file
}

func (p *plane) controllers() []string {
	return []string{"kube-controller-manager",
		"--kubeconfig=" + p.path("kubeconfig"), "--bind-address=" + host, "--secure-port=0", "--leader-elect=false",
		"--controllers=garbage-collector-controller,namespace-controller,serviceaccount-controller",
		// Each controller with its own account, so that admission policies meet the real ones.
		"--use-service-account-credentials=true",
		"--service-account-private-key-file=" + p.path("service-accounts.key"),
		"--kube-api-qps=200", "--kube-api-burst=400", "--profiling=false",
	}
}

// start runs this binary as one component, its output in DIR/<component>.log.
func (p *plane) start(ctx context.Context, arguments []string) (*exec.Cmd, error) {
	log, err := os.OpenFile(p.path(arguments[0]+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	child := exec.CommandContext(ctx, self, arguments...)
	child.Stdout, child.Stderr = log, log
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return child, child.Start()
}

func (p *plane) waitForAPI(ctx context.Context, ended <-chan error) error {
	return p.wait(ctx, ended, "the API server", func(client *kubernetes.Clientset) error {
		_, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err
	})
}

// waitForControllers waits for what the service-account controller makes in every namespace.
func (p *plane) waitForControllers(ctx context.Context, ended <-chan error) error {
	return p.wait(ctx, ended, "the controllers", func(client *kubernetes.Clientset) error {
		_, err := client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

func (p *plane) wait(ctx context.Context, ended <-chan error, what string, probe func(*kubernetes.Clientset) error) error {
	config, err := clientcmd.BuildConfigFromFlags("", p.path("kubeconfig"))
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	deadline := time.After(readyTimeout)
	for {
		err := probe(client)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-ended:
			return err
		case <-deadline:
			return fmt.Errorf("%s did not answer within %s: %w (logs in %s)", what, readyTimeout, err, p.dir)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
