package main

import (
	"errors"
	"net/url"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/embed"
)

// newEtcdCommand runs a single-member etcd without fsync: the data is thrown
// away with the test, and fsync would dominate every write.
func newEtcdCommand() *cobra.Command {
	var dir, client, peer string
	command := &cobra.Command{Use: "etcd", SilenceUsage: true, RunE: func(*cobra.Command, []string) error {
		config := embed.NewConfig()
		config.Dir = dir
		config.UnsafeNoFsync = true
		config.LogLevel = "warn"
		clientURL, peerURL := url.URL{Scheme: "http", Host: client}, url.URL{Scheme: "http", Host: peer}
		config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{clientURL}, []url.URL{clientURL}
		config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{peerURL}, []url.URL{peerURL}
		config.InitialCluster = config.InitialClusterFromName(config.Name)
		server, err := embed.StartEtcd(config)
		if err != nil {
			return err
		}
		select {
		case <-server.Server.ReadyNotify():
		case <-time.After(time.Minute):
			return errors.New("etcd was not ready within a minute")
		}
		return <-server.Err()
	}}
	command.Flags().StringVar(&dir, "data-dir", "", "where to keep the data")
	command.Flags().StringVar(&client, "listen-client", "", "HOST:PORT for clients")
	command.Flags().StringVar(&peer, "listen-peer", "", "HOST:PORT for peers")
	return command
}
