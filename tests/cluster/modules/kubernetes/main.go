// Kubernetes for the tests, in one binary: what is to be run is its first argument, what follows are that program's own.
package main

import (
	"context"
	"fmt"
	"net/url"
	"os"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// etcd keeps the API server's objects in this process, in a folder that nobody needs after a crash: it never syncs.
func etcd(folder, clients, peers string) error {
	config := embed.NewConfig()
	config.Dir = folder
	config.LogLevel = "error"
	config.UnsafeNoFsync = true
	for _, address := range []struct {
		text   string
		listen *[]url.URL
		tell   *[]url.URL
	}{
		{clients, &config.ListenClientUrls, &config.AdvertiseClientUrls},
		{peers, &config.ListenPeerUrls, &config.AdvertisePeerUrls},
	} {
		parsed, err := url.Parse(address.text)
		if err != nil {
			return err
		}
		*address.listen, *address.tell = []url.URL{*parsed}, []url.URL{*parsed}
	}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	server, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	<-server.Server.ReadyNotify()
	return nil
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: kubernetes apiserver|controllers|scheduler|kubelet FLAGS")
		os.Exit(2)
	}
	role := os.Args[1]
	os.Args = append(os.Args[:1], os.Args[2:]...)
	switch role {
	case "apiserver":
		if err := etcd(os.Getenv("ETCD_FOLDER"), os.Getenv("ETCD_CLIENTS"), os.Getenv("ETCD_PEERS")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "controllers":
		os.Exit(cli.Run(controllers.NewControllerManagerCommand()))
	case "scheduler":
		os.Exit(cli.Run(scheduler.NewSchedulerCommand()))
	case "kubelet":
		os.Exit(cli.Run(kubelet.NewKubeletCommand(context.Background())))
	default:
		fmt.Fprintf(os.Stderr, "%q is none of apiserver, controllers, scheduler, kubelet\n", role)
		os.Exit(2)
	}
}
