package Token::Redis;

# A store that a test starts, kills, freezes and fills: Debian's Redis, or its
# Valkey where that is what is installed.
#
#     my $store = Token::Redis->new(
#         password => 'pw',                   # of the user "default"
#         users    => ['cache on >pw ~t:* -@all +evalsha'],     # as in an ACL
#         config   => ['maxmemory 2mb'],      # more lines of its configuration
#         ca => $ca, cert => $cert,           # Token::Cert: TLS, and no port
#                                             # without it
#     )->start;
#     $store->url;                            # redis:// or rediss://
#     $store->port;  $store->socket;          # TCP, TLS or not; a Unix socket
#     $store->command('PTTL', $key);          # as an administrator
#     $store->calls('evalsha');               # how often it was called so far
#     $store->clients;                        # of the port, not the test's own
#     $store->dump;                           # all that it keeps, as a file
#     $store->freeze;  $store->thaw;          # SIGSTOP, SIGCONT
#     $store->kill;                           # KILL
#     $store->start;                          # with what it had at the last dump
#     $store->empty;                          # ... or with nothing
#
#     my $group = Token::Redis->group;        # a master, a replica, 3 sentinels
#     $group->url;  $group->master;  $group->others;  $group->stop;
#
# The binary is that of the packages redis-tools and valkey-tools, which are no
# services of the machine, as redis-server and valkey-server are: one program is
# all of it, and goes by the name that it is started with.

use strict;
use warnings;

use IO::Socket::UNIX;
use POSIX ();
use Scalar::Util qw(weaken);
use Time::HiRes qw(sleep);
use Token::Resp;
use Token::Util qw(free_port slurp slurp_or_empty spew wait_for work_dir);

my $PRCTL = { x86_64 => 157, aarch64 => 167 }->{ (POSIX::uname())[4] };

my @stores;
my ($binary, $kind);

END { local $?; $_ && $_->stop for @stores }


sub binary {
    return $binary if $binary;

    for my $name (qw(redis valkey)) {
        for my $path (map { ("$_/$name-server", "$_/$name-check-rdb") }
            qw(/usr/bin /usr/local/bin))
        {
            next if !-x $path;
            ($binary, $kind) = ($path, $name);
            return $binary;
        }
    }

    die "neither Redis nor Valkey is installed: scripts/packages.sh names it\n";
}


sub new {
    my ($class, %options) = @_;
    my $dir = work_dir();
    my $self = bless {
        role => 'server', %options, dir => $dir, owner => $$,
        port => free_port(), socket => "$dir/s",
    }, $class;

    # the name of a Unix socket has 107 bytes at most
    $self->{socket} = sprintf '/tmp/token-%d-%d', $$, scalar @stores
        if length $self->{socket} > 100;

    weaken($stores[@stores] = $self);
    return $self;
}


sub dir { $_[0]{dir} }
sub port { $_[0]{port} }
sub pid { $_[0]{pid} }
sub socket { $_[0]{socket} }
sub log { slurp("$_[0]{dir}/log") }


sub version {
    my ($self) = @_;
    my $server = $self->info('server');

    return join ' ', $kind, $server->{valkey_version} // $server->{redis_version};
}


# url 'user@': with a user, or something else before the host.
sub url {
    my ($self, $user) = @_;

    return ($self->{cert} ? 'rediss://' : 'redis://') . ($user // '')
        . ($self->{cert} ? 'localhost' : '127.0.0.1') . ":$self->{port}";
}


sub configuration {
    my ($self) = @_;
    my @lines = ('bind 127.0.0.1', 'daemonize no', "dir $self->{dir}",
        @{ $self->{config} // [] });

    push @lines, $self->{cert}
        ? ('port 0', "tls-port $self->{port}", 'tls-auth-clients no',
            'tls-cert-file ' . $self->{cert}->file,
            'tls-key-file ' . $self->{cert}->key,
            'tls-ca-cert-file ' . $self->{ca}->file)
        : "port $self->{port}";

    return @lines if $self->{role} eq 'sentinel';

    # its file is read by the test, and written when the test says so
    return (@lines, "unixsocket $self->{socket}", 'save ""', 'appendonly no',
        'rdbcompression no', 'repl-diskless-sync-delay 0',
        'user admin on nopass ~* &* +@all',
        ($self->{password} ? 'user default on "' . ">$self->{password}" =~ s/"/\\"/gr
            . '" ~* &* +@all' : ()),
        map { "user $_" } @{ $self->{users} // [] });
}


sub start {
    my ($self) = @_;
    my $path = binary();

    die "it runs\n" if $self->{pid};

    unlink $self->{socket};
    spew("$self->{dir}/conf", map { "$_\n" } $self->configuration);

    my $pid = fork // die "fork: $!\n";

    if ($pid == 0) {

        # it ends with a test that is killed: prctl(PR_SET_PDEATHSIG, SIGKILL)
        syscall $PRCTL, 1, 9 if $PRCTL;

        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', "$self->{dir}/log";
        open STDERR, '>&', \*STDOUT;
        my @words = ("$kind-$self->{role}", "$self->{dir}/conf",
            $self->{role} eq 'sentinel' ? '--sentinel' : ());
        { no warnings 'exec'; exec { $path } @words }
        POSIX::_exit(127);
    }

    $self->{pid} = $pid;

    wait_for { $self->answers || waitpid($pid, POSIX::WNOHANG) } 20;

    die "$path did not start: " . slurp_or_empty("$self->{dir}/log") . "\n"
        if !$self->answers;

    return $self;
}


# It listens, and has loaded what it had.
sub answers {
    my ($self) = @_;

    return eval { $self->command('PING') eq 'PONG' };
}


sub command {
    my ($self, @words) = @_;

    for my $again (0, 1) {
        my $fresh = !$self->{admin};

        if ($fresh) {
            $self->{admin} = $self->{role} eq 'sentinel'
                ? Token::Resp->connect(port => $self->{port})
                : Token::Resp->connect(unix => $self->{socket});

            die "store: no connection\n" if !$self->{admin};
            $self->{admin}->command('AUTH', 'admin', 'x')
                if $self->{role} ne 'sentinel';
        }

        my $reply = eval { $self->{admin}->command(@words) };

        return $reply if !length $@;

        my $why = $@;
        undef $self->{admin} if $why =~ /^store: /;
        die $why if $fresh || $why !~ /^store: (?:closed|Broken)/;
    }

    return;
}


# section of INFO, as a hash
sub info {
    my ($self, $section) = @_;

    return { $self->command('INFO', $section) =~ /^(\w[^:\r\n]*):([^\r\n]*)/mg };
}


sub calls {
    my ($self, $name) = @_;
    my $said = $self->info('commandstats')->{"cmdstat_$name"} // '';

    return $said =~ /calls=(\d+)/ ? $1 : 0;
}


sub clients {
    my ($self) = @_;

    return grep { / laddr=127\.0\.0\.1:$self->{port} / }
        split /\n/, $self->command('CLIENT', 'LIST');
}


sub dump {
    my ($self) = @_;

    $self->command('SAVE');
    return slurp("$self->{dir}/dump.rdb");
}


sub freeze { kill STOP => $_[0]{pid}; return $_[0] }
sub thaw { kill CONT => $_[0]{pid}; return $_[0] }


sub end {
    my ($self, $signal) = @_;
    my $pid = $self->{pid};

    return $self if !$pid || $self->{owner} != $$;

    local ($?, $!);
    undef $self->{admin};
    kill $signal, $pid;
    kill CONT => $pid;
    waitpid $pid, 0;
    $self->{pid} = undef;
    unlink $self->{socket};
    return $self;
}


sub kill { my $self = shift; return $self->end('KILL') }
sub stop { my $self = shift; return $self->end('KILL') }


# What it had is no more there when it starts again.
sub empty { unlink "$_[0]{dir}/dump.rdb"; return $_[0] }


sub DESTROY { local ($?, $!); $_[0]->stop }


# A master, its replica and three sentinels that know of each other.
sub group {
    my ($class, %options) = @_;

    return Token::Redis::Group->new($class, %options);
}


package Token::Redis::Group;

use strict;
use warnings;

use Token::Util qw(wait_for);


sub new {
    my ($class, $store, %options) = @_;
    my $master = $store->new(%options)->start;
    my $replica = $store->new(%options,
        config => ['replicaof 127.0.0.1 ' . $master->port])->start;
    my $self = bless { stores => [$master, $replica], name => 'tokens' }, $class;

    $self->{sentinels} = [map { $store->new(role => 'sentinel', config => [
        "sentinel monitor $self->{name} 127.0.0.1 " . $master->port . ' 2',
        "sentinel down-after-milliseconds $self->{name} 500",
        "sentinel failover-timeout $self->{name} 3000",
    ])->start } 1 .. 3];

    wait_for {
        my @know = grep {
            my %state = @{ $_->command('SENTINEL', 'MASTER', $self->{name}) };
            $state{'num-other-sentinels'} == 2 && $state{'num-slaves'} == 1;
        } @{ $self->{sentinels} };
        @know == 3 && $replica->info('replication')->{master_link_status} eq 'up';
    } 20 or die "the sentinels do not find each other\n";

    return $self;
}


sub url {
    my ($self) = @_;

    return 'sentinel://' . join(',', map { '127.0.0.1:' . $_->port }
        @{ $self->{sentinels} }) . "/$self->{name}";
}


sub sentinels { @{ $_[0]{sentinels} } }


# The store that the sentinels say is the master.
sub master {
    my ($self) = @_;
    my $port = $self->{sentinels}[0]->command('SENTINEL',
        'GET-MASTER-ADDR-BY-NAME', $self->{name})->[1];

    return (grep { $_->port == $port } @{ $self->{stores} })[0];
}


sub others { my $master = $_[0]->master; grep { $_ != $master } @{ $_[0]{stores} } }


sub stop { $_->stop for @{ $_[0]{sentinels} }, @{ $_[0]{stores} }; return }

1;
