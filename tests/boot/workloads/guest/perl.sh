# Perl and its modules: numbers, text, digests, processes, signals, threads, sockets.
export LC_ALL=C
cd /tmp || exit 1
cat >check.pl <<'X'
use strict;
use warnings;
use Compress::Zlib;
use Digest::SHA qw(sha256_hex);
use Encode;
use IO::Socket::INET;
use List::Util qw(sum shuffle);
use Math::BigInt;
use POSIX;
use Storable qw(dclone);
use threads;

my %h;
$h{ $_ % 1000 } .= chr(65 + $_ % 26) for 1 .. 200000;
print sha256_hex(join ",", map { "$_=$h{$_}" } sort keys %h), "\n";
print scalar(keys %{ dclone(\%h) }), " ", sum(shuffle 1 .. 1000), "\n";
printf "%.10f\n", POSIX::fmod(1e10 / 3, 7);
print Math::BigInt->new(3)->bpow(500), "\n";
print length(encode("UTF-16", "h\x{e9}llo")), "\n";
print length(uncompress(compress("abc" x 100000))), "\n";
my $text = join " ", map { $_ * $_ } 1 .. 5000;
my $n = () = $text =~ /\b(\d)\d*\1\b/g;
print "$n matches\n";
print `echo from a shell`;
my $pid = fork;
exit 3 if !$pid;
waitpid $pid, 0;
print "child ", $? >> 8, "\n";
local $SIG{ALRM} = sub { print "alarm\n" };
alarm 1;
select undef, undef, undef, 3;
my $listen = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1");
my $client = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $listen->sockport);
my $server = $listen->accept;
print $client "over loopback\n";
$client->close;
print scalar <$server>;
print join(" ", map { $_->join } map { my $m = $_; threads->create(sub { sum 1 .. $m * 1000 }) } 1 .. 4), "\n";
X
perl check.pl
