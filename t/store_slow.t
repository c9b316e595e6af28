# A store whose replies come in time, one by one, but take too long together.

use strict;
use warnings;
use lib 't/lib';

use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Test::More tests => 7;
use Time::HiRes qw(sleep time);
use Token::Cache;
use Token::Endpoint;
use Token::Fleet;
use Token::Redis;
use Token::Util qw(end_child wait_for);

my $DELAY = 1;

my $store = Token::Redis->new->start;
my $endpoint = Token::Endpoint->new;
my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Proto => 'tcp',
    Listen => 64) // die "listen: $!\n";
my $pid = fork // die "fork: $!\n";

if ($pid == 0) {
    $SIG{PIPE} = 'IGNORE';
    eval { delay($listen, $store->port, $DELAY); 1 } or print STDERR $@;
    POSIX::_exit(0);
}

my $slow = { pid => $pid, owner => $$ };
my $url = $store->url;
my $proxy = $listen->sockport;

$url =~ s/:\d+$/:$proxy/ or die "$url has no port\n";

# Each reply is in time, and a caller waits for 1.5 seconds at most.
my $fleet = Token::Fleet->new(
    machines => 1, workers => 1, log_level => 'info',
    store => "$url key=" . 'a' x 24 . ' key=' . 'b' x 24
        . ' connect_timeout=200ms timeout=1300ms',
    server => location('token', $endpoint->url, 'token_proxy_cache_key "$arg_key"'),
)->start;

ok((wait_for { $store->clients } 10), 'a slow store: there is a connection');
sleep 2 * $DELAY;

# the text of the script has to be sent as well, and the other key is tried
$store->command('SCRIPT', 'FLUSH');

my $start = time;
my $got = $fleet->get(0, '/token?key=first');
my $took = time - $start;

is(scalar(unanswered($got)), 0, '... the caller has a token');
cmp_ok($took, '>', 1.4, '... it has waited for the store');
cmp_ok($took, '<', 2.5, '... not for each reply');

# a connection has to be made first, and the lease comes when nobody waits for it
sleep 2 * $DELAY;
$store->command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
$got = $fleet->get(0, '/token?key=second');
is(scalar(unanswered($got)), 0, '... another caller as well');
ok((wait_for { !grep { /:l$/ } @{ $store->command('KEYS', '*') } } 1),
    '... and others need not wait for the end of a lease that is not used');
is(scalar(() = $fleet->said(qr/\[(?:crit|alert|emerg)\]/)), 0, '... nothing worse in the log');

$fleet->stop;
end_child($slow);


# What the store says is passed on when the time has come.
sub delay {
    my ($listen, $port, $seconds) = @_;
    my $select = IO::Select->new($listen);
    my (%other, %from_store, @late);
    my $parent = getppid;

    while (getppid == $parent) {
        for my $socket ($select->can_read(0.02)) {
            if ($socket == $listen) {
                my $client = $listen->accept or next;
                my $server = IO::Socket::INET->new(Proto => 'tcp',
                    PeerAddr => '127.0.0.1', PeerPort => $port) or next;

                @other{ $client, $server } = ($server, $client);
                $from_store{$server} = 1;
                $select->add($client, $server);
                next;
            }

            if (!sysread $socket, my $bytes, 65536) {
                $select->remove($socket, $other{$socket});
                close $_ for $socket, $other{$socket};
            }
            elsif ($from_store{$socket}) {
                push @late, [time + $seconds, $other{$socket}, $bytes];
            }
            else {
                syswrite $other{$socket}, $bytes;
            }
        }

        while (@late && $late[0][0] <= time) {
            my ($when, $socket, $bytes) = @{ shift @late };

            syswrite $socket, $bytes if defined fileno $socket;
        }
    }
}
